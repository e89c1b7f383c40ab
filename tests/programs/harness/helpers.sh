# What several cases share. A case reads it with `. "$HELPERS"`.

set -euo pipefail

# Before a command: it runs unprivileged even if we are root, as some servers demand. An array rather than a function,
# so that $! is the server itself when it is sent to the background.
AS_NOBODY=()
if [ "$(id -u)" = 0 ]; then AS_NOBODY=(setpriv --reuid=nobody --regid=nogroup --clear-groups --); fi

# Make a directory that AS_NOBODY can write to.
dir_for_nobody() {
    mkdir "$1"
    if [ "$(id -u)" = 0 ]; then chown nobody:nogroup "$1"; fi
}

# Try a command until it succeeds, for half a minute at most.
wait_until() {
    local try
    for ((try = 0; try < 600; try++)); do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 0.05
    done
    echo "waited in vain for: $*" >&2
    return 1
}

# The digest of standard input, short enough to read.
digest() { sha256sum | cut -c1-20; }

# LINES lines of pseudo-random words, always the same: "line 17: bana cefi ...". Park and Miller's generator.
text_generate() {
    awk -v lines="$1" -v seed="${2:-1}" '
        function draw(n) { seed = seed * 16807 % 2147483647; return seed % n }
        function word(    i, w) {
            for (i = draw(4); i >= 0; i--) w = w substr("bcdfglmnprst", draw(12) + 1, 1) substr("aeiou", draw(5) + 1, 1)
            return w
        }
        BEGIN {
            for (line = 1; line <= lines; line++) {
                text = "line " line ":"
                for (i = draw(9) + 2; i > 0; i--) text = text " " word()
                print text
            }
        }'
}
