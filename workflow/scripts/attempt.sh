#!/usr/bin/env bash
# One attempt at a run: attempt.sh LOG NUMBER WAIT_S COMMAND ...
# The log stays whatever becomes of the job (Snakemake empties its own before every attempt). Exit status 2 is the runner's
# for bad input, which no further attempt can mend.
set -euo pipefail
log=$1 number=$2 wait=$3
shift 3
mkdir -p "$(dirname "$log")"
if [ "$number" = 1 ]; then
    : > "$log"
elif [ -e "$log" ] && [ "$(tail -n 1 "$log")" = "exit status 2" ]; then
    echo "bad input is not tried again: $(grep '^error:' "$log" | tail -n 1)" >&2
    exit 2
fi
sleep "$wait"
echo "attempt $number on $(hostname)" >> "$log"
status=0
"$@" >> "$log" 2>&1 || status=$?
echo "exit status $status" >> "$log"
exit "$status"
