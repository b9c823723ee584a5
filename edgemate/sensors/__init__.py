"""What a machine says about itself: clocks, load, temperature, power mode, memory and energy.

Everything is read from files of the kernel or from the driver's library, without further packages. Where something
cannot be read, the value is None and a reason is given: a missing sensor is a result, not an error.
"""
