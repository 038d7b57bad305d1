#!/bin/sh
# Instructions per packet added by flow weights, apart from the flow hash, as
# counted by valgrind. Exit status 2 if they exceed the aim. The update visits
# every flow twice: 10 flows in 4 ms, which is 333 packets here, and 200 flows in
# 28 ms.
set -eu
program=$1

command -v valgrind >/dev/null || {
	echo "skipped: instructions: valgrind is not installed"
	exit 0
}

count() {
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" \
	    "$@" 2>&1 | sed -n 's/^.*refs: *//p' | tr -d ,
}

# Per packet: the difference of two runs, in tenths.
per_packet() {
	long=$(count "$1" "$2" 60000)
	short=$(count "$1" "$2" 20000)
	echo $(((long - short) / 4000))
}

aim=60
status=0
for flows in 10 200; do
	off=$(per_packet off "$flows")
	on=$(per_packet on "$flows")
	hash=$(per_packet hash "$flows")
	more=$((on - off - hash))
	met=met
	if [ "$more" -gt $((aim * 10)) ]; then
		met=missed
		status=2
	fi
	echo "flow_weights_instructions_${flows}_flows $((more / 10)) (off" \
	    "$((off / 10)), hash $((hash / 10)), aim $aim: $met)"
done
exit $status
