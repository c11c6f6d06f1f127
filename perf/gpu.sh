#!/usr/bin/env bash
# Every measurement on one GPU in one go, within ten minutes. See usage below, and perf/README.md.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: perf/gpu.sh [--seconds N] [--output FOLDER] [--quick]

Runs on one GPU, one after the other: gpulaf info --check, gpulaf profile, and every script of perf/ that knows --gpu.
Each has a time limit of its own and ends with the time of all; what it prints goes to FOLDER/NAME.txt, its results beside
it. A summary comes last, and goes to FOLDER/summary.txt. Without a GPU it says what is missing.

  --seconds N      time of all together (600)
  --output FOLDER  where results are written (perf/results/gpu)
  --quick          tiny sizes: shows that all works, measures nothing

PYTHON names the interpreter that has gpulaf (python). Exit status: 0 where all ran, those aside for which a package is
missing; 1 where one failed or had no time, or there is no GPU; 2 for a mistake in the options.
TEXT
}

mistake() {
    printf 'gpu.sh: %s See perf/gpu.sh --help.\n' "$1" >&2
    exit 2
}

perf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds=600
output=$perf/results/gpu
quick=()
python=${PYTHON:-python}
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --seconds | --output)
        [ $# -gt 1 ] || mistake "$1 needs a value."
        if [ "$1" = --seconds ]; then seconds=$2; else output=$2; fi
        shift 2
        ;;
    --quick)
        quick=(--quick)
        shift
        ;;
    *) mistake "$1 is unknown." ;;
    esac
done
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || mistake "--seconds is $seconds; accepted are whole numbers from 1."

missing=$("$python" -c 'from gpulaf.backend.array import gpu_missing; print(gpu_missing() or "")' 2>&1) || {
    printf 'gpu.sh: %s cannot use gpulaf: %s\n' "$python" "${missing##*$'\n'}" >&2
    exit 1
}
if [ -n "$missing" ]; then
    printf 'gpu.sh: nothing is measured. %s\n' "$missing" >&2
    exit 1
fi

mkdir -p "$output"
output=$(cd "$output" && pwd)
summary=$output/summary.txt
: >"$summary"
child=
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 130' INT TERM
SECONDS=0
failed=0

report() { # name, outcome, seconds, what it found
    printf '%-14s %-9s %4s s  %s\n' "$@" | tee -a "$summary"
}

# step NAME LIMIT COMMAND...: run a command for LIMIT seconds at most, and for no longer than there is time.
step() {
    local name=$1 limit=$2 log=$output/$1.txt left=$((seconds - SECONDS)) began=$SECONDS status=0 outcome found
    shift 2
    if [ "$left" -lt 1 ]; then
        failed=1
        report "$name" "no time" 0 ""
        return
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1 </dev/null &
    child=$!
    wait "$child" || status=$?
    child=
    case $status in
    0) outcome=ok ;;
    124 | 137) outcome=timed-out ;;
    *) outcome=failed ;;
    esac
    if [ "$outcome" = failed ] && grep -q 'cannot be imported' "$log"; then
        outcome=skipped
    elif [ "$outcome" != ok ]; then
        failed=1
    fi
    found=$(tail -n 1 "$log")
    if [ "$name" = profile ] && [ "$outcome" = ok ]; then found=$(grep '^total' "$log"); fi
    report "$name" "$outcome" $((SECONDS - began)) "$found"
}

script() { # NAME LIMIT
    step "$1" "$2" "$python" "$perf/$1.py" --gpu --output "$output" "${quick[@]}"
}

sizes=()
[ ${#quick[@]} -eq 0 ] || sizes=(--size 32 --labels 3)
step check 150 "$python" -m gpulaf info --check
step profile 60 "$python" -m gpulaf profile --device gpu -o "$output" "${sizes[@]}"
script bandwidth 120
script fit 60
script batch 60
script deep 60
script neighborhoods 120
script autodiff 240

if [ "$failed" -eq 0 ]; then said="All ran"; else said="Not all ran"; fi
printf '%s, in %d s. Results and what was printed (NAME.txt): %s\n' "$said" "$SECONDS" "$output" | tee -a "$summary"
exit "$failed"
