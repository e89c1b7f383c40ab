# The interpreter's own regression tests.

# Run one of its test modules. Prints each test with how it ended, so that the runs are compared test by test.
cpython_test() {
    PYTHONMALLOC=malloc PYTHONHASHSEED=0 /usr/bin/python3 -m test --junit-xml "$PWD/results.xml" "$1" > test.log 2>&1 ||
        tail -n 60 test.log >&2
    /usr/bin/python3 - results.xml <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

for test in sorted(tree.parse(sys.argv[1]).iter('testcase'), key=lambda test: test.get('name')):
    ends = [child.tag for child in test if child.tag not in ('system-out', 'system-err')]
    print(test.get('name'), *ends or ['passed'])
PYTHON
}
