"""What the structure tests share: reading the C sources of a folder, without their comments and strings."""

import pathlib
import re
import sys

COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def files(folder):
    """The .c and .h files of a folder; none at all is an error, for a check of nothing always passes."""
    found = sorted(path for path in pathlib.Path(folder).iterdir() if path.suffix in ('.c', '.h'))
    if not found:
        sys.exit(f'{folder}: no C sources')
    return found


def blank(match):
    """Spaces in place of a comment or string: line numbers stay."""
    return re.sub(r'[^\n]', ' ', match.group())


def code_lines(path):
    """Pairs of line number and line, comments and strings blanked."""
    return enumerate(COMMENT_OR_STRING.sub(blank, path.read_text()).split('\n'), start=1)


def finish(what, faults):
    """Prints the faults; the process ends with 1 when there are any."""
    for fault in faults:
        print(fault)
    print(f'{what}: ' + (f'{len(faults)} faults' if faults else 'in order'))
    sys.exit(1 if faults else 0)
