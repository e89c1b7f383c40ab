"""What a benchmark is: a name, a group, a question, and how to make the command that answers it."""
import dataclasses
import pathlib
import typing

# In the order in which they are run and averaged.
GROUPS = {
    'single': 'single-thread programs',
    'multi': 'multi-thread programs',
    'small': 'small programs',
    'real': 'real programs',
    'trace': 'replayed traces of real programs',
}


@dataclasses.dataclass(frozen=True)
class Workplace:
    """Where things are during one invocation of the runner."""
    programs: pathlib.Path  # the compiled benchmark programs
    scratch: pathlib.Path   # for generated input and output; removed at the end
    quick: bool             # a fraction of the work


@dataclasses.dataclass(frozen=True)
class Job:
    """One command, ready to run under any allocator."""
    argv: list
    environment: dict = dataclasses.field(default_factory=dict)
    repeat: int = 1               # runs per measurement, for programs too short to time alone
    keys: bool = False            # its output is `key value` lines; otherwise the output itself is the result
    serve: typing.Callable | None = None  # drives a server: takes its process, returns figures to replace measured ones


@dataclasses.dataclass(frozen=True)
class Benchmark:
    name: str
    group: str
    question: str
    job_make: typing.Callable      # Workplace -> Job; generates input if it needs any
    needs: tuple = ()              # (program, Debian package) that must be there
    peers: tuple = ()              # further allocators that exist only within this program
    own_allocator: bool = False    # links an allocator of its own, which must not stand in for the system's
    by_default: bool = True        # False: runs only when --only names it


class ProgramMissing(Exception):
    """Its text names the program and its package."""
