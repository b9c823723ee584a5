from __future__ import annotations

from fake_tensorrt import FakeTensorRT
from told import Told

from edgemate.runtime.backends.tensorrt.reporting import make_logger, make_progress_monitor


def test_the_last_errors_are_kept_each_once() -> None:
    module = FakeTensorRT("10.3.0")
    logger = make_logger(module)
    for number in (0, 1, 2, 3, 3):
        logger.log(module.Logger.ERROR, f"error\n  {number}")
    logger.log(module.Logger.WARNING, "slow")
    logger.log(module.Logger.INTERNAL_ERROR, "worse")
    assert logger.reasons() == "error 2; error 3; worse"
    logger.forget()
    assert logger.reasons() == ""


def test_where_there_is_no_error_the_last_warning_is_the_reason() -> None:
    module = FakeTensorRT("8.5.3.1")
    logger = make_logger(module)
    for message in ("Unable to determine GPU memory usage", "CUDA initialization failure with error: 35"):
        logger.log(module.Logger.WARNING, message)
    logger.log(module.Logger.INFO, "[MemUsageChange] Init CUDA")
    assert logger.reasons() == "CUDA initialization failure with error: 35"


def test_the_outermost_phase_is_told() -> None:
    told = Told()
    monitor = make_progress_monitor(FakeTensorRT("10.3.0"), told)
    monitor.phase_start("Building", None, 2)
    monitor.phase_start("Tactics", "Building", 100)
    assert monitor.step_complete("Tactics", 0)
    monitor.phase_finish("Tactics")
    assert monitor.step_complete("Building", 0)
    monitor.phase_finish("Building")
    assert told == [": 0 of 2, Building", ": 1 of 2, Building"]


def test_an_interrupt_asks_the_build_to_stop() -> None:
    class Interrupted(Told):
        def advance(self, *given: object) -> None:
            raise KeyboardInterrupt

    monitor = make_progress_monitor(FakeTensorRT("10.3.0"), Interrupted())
    monitor.phase_start("Building", None, 2)
    assert not monitor.step_complete("Building", 0)
    assert monitor.interrupted


def test_versions_that_report_nothing_have_no_monitor() -> None:
    assert make_progress_monitor(FakeTensorRT("8.6.1"), Told()) is None
