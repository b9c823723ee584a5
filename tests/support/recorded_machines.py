"""What real machines have in their files of power and energy, as far as public logs show it; paths below `/`.

Each says where it is from. Where a log leaves out a file that a sensor needs, the comment says so.
"""

from __future__ import annotations

# An Intel laptop, from powercap-info in https://github.com/flightlessmango/MangoHud/issues/1776: `package-0` with the
# parts `core` and `uncore`, which are in its counter and, though not `enabled`, count. `psys` is as on that machine
# class; its counter is not in the log.
INTEL_LAPTOP = {
    "intel-rapl/enabled": "1",
    "intel-rapl:0/name": "package-0",
    "intel-rapl:0/enabled": "1",
    "intel-rapl:0/energy_uj": "26963529117",
    "intel-rapl:0/max_energy_range_uj": "262143328850",
    "intel-rapl:0/constraint_0_name": "long_term",
    "intel-rapl:0/constraint_0_power_limit_uw": "200000000",
    "intel-rapl:0/constraint_0_time_window_us": "31981568",
    "intel-rapl:0:0/name": "core",
    "intel-rapl:0:0/enabled": "0",
    "intel-rapl:0:0/energy_uj": "7980278886",
    "intel-rapl:0:0/max_energy_range_uj": "262143328850",
    "intel-rapl:0:1/name": "uncore",
    "intel-rapl:0:1/enabled": "0",
    "intel-rapl:0:1/energy_uj": "6564982278",
    "intel-rapl:0:1/max_energy_range_uj": "262143328850",
    "intel-rapl:1/name": "psys",
    "intel-rapl:1/energy_uj": "99000000000",
    "intel-rapl:1/max_energy_range_uj": "262143328850",
}

# The same counter by MMIO, as listed in https://github.com/dominiksalvet/asus-fan-control/issues/151.
INTEL_MMIO = {
    "intel-rapl-mmio/enabled": "1",
    "intel-rapl-mmio:0/name": "package-0",
    "intel-rapl-mmio:0/energy_uj": "26963529117",
    "intel-rapl-mmio:0/max_energy_range_uj": "262143328850",
}

# A Core i7-4770S, from https://github.com/intel/thermal_daemon/issues/45: memory has a counter of its own,
# with this range. The package's counter is not in the part of the log that we have.
HASWELL = {
    "intel-rapl:0/name": "package-0",
    "intel-rapl:0/energy_uj": "31000000000",
    "intel-rapl:0/max_energy_range_uj": "262143999938",
    "intel-rapl:0:0/name": "core",
    "intel-rapl:0:0/energy_uj": "16834313903",
    "intel-rapl:0:0/max_energy_range_uj": "262143999938",
    "intel-rapl:0:1/name": "uncore",
    "intel-rapl:0:1/energy_uj": "0",
    "intel-rapl:0:1/max_energy_range_uj": "262143999938",
    "intel-rapl:0:2/name": "dram",
    "intel-rapl:0:2/enabled": "1",
    "intel-rapl:0:2/constraint_0_name": "long_term",
    "intel-rapl:0:2/energy_uj": "2469474853",
    "intel-rapl:0:2/max_energy_range_uj": "262143999938",
}

# An AMD Ryzen Threadripper 1950X, from examples/rapl of https://github.com/mlco2/codecarbon: a zone per die, and both
# have the counter of the whole socket, read a few milliseconds apart. Its documentation gives 68 W for each of them,
# where the whole computer takes 125 W.
THREADRIPPER = {
    "intel-rapl:0/name": "package-0-die-0",
    "intel-rapl:0/enabled": "0",
    "intel-rapl:0/energy_uj": "10360237493",
    "intel-rapl:0/max_energy_range_uj": "65532610987",
    "intel-rapl:1/name": "package-0-die-1",
    "intel-rapl:1/enabled": "0",
    "intel-rapl:1/energy_uj": "10359908363",
    "intel-rapl:1/max_energy_range_uj": "65532610987",
}

# Jetson Orin NX 16GB, L4T R36.5: labels, currents, voltages and watts of VDD_IN as measured in docs/power.md of
# https://github.com/ARK-Electronics/ark_jetson_kernel; the other two rails are not in it. The remaining files are those
# of the kernel's driver: Documentation/hwmon/ina3221.rst.
ORIN_NX_FOLDER = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
ORIN_NX = {
    "name": "ina3221",
    "in1_label": "VDD_IN",
    "in1_enable": "1",
    "in1_input": "5160",
    "curr1_input": "1010",
    "curr1_crit": "7784",
    "curr1_max": "7784",
    "shunt1_resistor": "5000",
    "in2_label": "VDD_CPU_GPU_CV",
    "in2_enable": "1",
    "in2_input": "5160",
    "curr2_input": "136",
    "shunt2_resistor": "5000",
    "in3_label": "VDD_SOC",
    "in3_enable": "1",
    "in3_input": "5160",
    "curr3_input": "288",
    "shunt3_resistor": "5000",
    "in4_input": "5050",
    "in5_input": "680",
    "in6_input": "1440",
    "in7_label": "sum of shunt voltages",
    "in7_input": "7170",
    "curr4_input": "1434",
}
ORIN_NX_MEASURED = ((5160, 1010, 5.2), (5104, 3340, 17.1), (5040, 5600, 28.2), (5024, 6020, 30.2))
"""Millivolts, milliamperes and the watts that the document gives for them, in four power modes."""

# Jetson AGX Orin: two monitors with the labels of the device tree (tegra234-p3701); two channels of the second one are
# not connected. Reading those fails, as the listing in https://github.com/alumet-dev/alumet/issues/212 shows, so their
# files are folders here, which cannot be read either. NVIDIA's Developer Guide says of the rails that the power of
# VDDQ_VDD2_1V8AO is included in that of VIN_SYS_5V0. Watts are those of a line of tegrastats with a busy CPU.
AGX_ORIN_FOLDER = "sys/bus/i2c/drivers/ina3221"
AGX_ORIN = {
    "1-0040/name": "ina3221",
    "1-0040/hwmon/hwmon1/in1_label": "VDD_GPU_SOC",
    "1-0040/hwmon/hwmon1/in1_input": "19688",
    "1-0040/hwmon/hwmon1/curr1_input": "160",
    "1-0040/hwmon/hwmon1/in2_label": "VDD_CPU_CV",
    "1-0040/hwmon/hwmon1/in2_input": "19660",
    "1-0040/hwmon/hwmon1/curr2_input": "728",
    "1-0040/hwmon/hwmon1/in3_label": "VIN_SYS_5V0",
    "1-0040/hwmon/hwmon1/in3_input": "4968",
    "1-0040/hwmon/hwmon1/curr3_input": "1000",
    "1-0040/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "1-0040/hwmon/hwmon1/in7_input": "3776",
    "1-0041/name": "ina3221",
    "1-0041/hwmon/hwmon2/in1_label": "NC",
    "1-0041/hwmon/hwmon2/in1_input/unreadable": "",
    "1-0041/hwmon/hwmon2/curr1_input/unreadable": "",
    "1-0041/hwmon/hwmon2/in2_label": "VDDQ_VDD2_1V8AO",
    "1-0041/hwmon/hwmon2/in2_input": "4960",
    "1-0041/hwmon/hwmon2/curr2_input": "220",
    "1-0041/hwmon/hwmon2/in3_label": "NC",
    "1-0041/hwmon/hwmon2/in3_input/unreadable": "",
    "1-0041/hwmon/hwmon2/curr3_input/unreadable": "",
}
AGX_ORIN_MILLIWATTS = {"VDD_GPU_SOC": 3150, "VDD_CPU_CV": 14312, "VIN_SYS_5V0": 4968, "VDDQ_VDD2_1V8AO": 1091}

# Jetson Nano with JetPack 4: the paths of https://github.com/rbonghi/jetson_stats/issues/131 and the rails of its issue
# 51, where NVIDIA is quoted: POM_5V_IN is the overall input, and the two others are parts of it.
NANO_FOLDER = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
NANO = {
    "name": "ina3221x",
    "rail_name_0": "POM_5V_IN",
    "in_voltage0_input": "5072",
    "in_current0_input": "360",
    "in_power0_input": "1825",
    "rail_name_1": "POM_5V_GPU",
    "in_voltage1_input": "5072",
    "in_current1_input": "16",
    "in_power1_input": "81",
    "rail_name_2": "POM_5V_CPU",
    "in_voltage2_input": "5072",
    "in_current2_input": "88",
    "in_power2_input": "446",
}

# A Titan RTX of 16 W, idle for a minute: https://github.com/powerapi-ng/pyJoules/issues/23.
TITAN_RTX_IDLE = {"millijoules": 952_494, "seconds": 60, "watts": 16}
