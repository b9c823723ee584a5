"""What every exit and every operating point costs, on paper and on a clock, and how right it is."""

from edgemate.profiling.calibrate_run import calibrate_run
from edgemate.profiling.profile import ExitProfile, Point, Profile
from edgemate.profiling.profiler import profile_run

__all__ = ["ExitProfile", "Point", "Profile", "calibrate_run", "profile_run"]
