# Where things lie on the machine with the GPU, and how results come home. day.sh and tensorrt.sh read this file.
#
# KEEP  what must last from one command to the next: runs, results, data, packages, engines, compiled networks. In memory
#       (/dev/shm) where KEEP_GIB (12) are free there, else under TMPDIR or /tmp.
# OUT   a folder whose files come home after a command, if there is such a thing: at most OUT_FILES (8) of them, each of
#       OUT_FILE_MIB (16), together OUT_MIB (64).

OUT_FILES=${OUT_FILES:-8}
OUT_FILE_MIB=${OUT_FILE_MIB:-16}
OUT_MIB=${OUT_MIB:-64}

keep_folder() {
    local folder memory=/dev/shm/edgemate-day disk=${TMPDIR:-/tmp}/edgemate-day
    for folder in "$memory" "$disk"; do  # where it was before, whatever is free now
        if [ -d "$folder" ]; then echo "$folder"; return; fi
    done
    if [ -w /dev/shm ] && [ "$(df --output=avail -k /dev/shm | tail -n 1)" -ge $((${KEEP_GIB:-12} << 20)) ]; then
        echo "$memory"
    else
        echo "$disk"
    fi
}

places() {
    export KEEP=${KEEP:-$(keep_folder)}
    export RUNS=${RUNS:-$KEEP/runs} RESULTS=${RESULTS:-$KEEP/results} SITE=${SITE:-$KEEP/site}
    KEEP=$(realpath -m "$KEEP") RUNS=$(realpath -m "$RUNS") RESULTS=$(realpath -m "$RESULTS") SITE=$(realpath -m "$SITE")
}

# Before a step there: what is needed to write, and the parts that have come, in however many commands.
settle() {
    mkdir -p "$KEEP/tmp" "$KEEP/parts" "$RUNS" "$RESULTS"
    # Sockets are made there, whose path has 107 bytes at most; Python's name for one has 32.
    [ ${#KEEP} -gt 71 ] || export TMPDIR=$KEEP/tmp
    # Compiled once, a network is not compiled again by the next program.
    export TORCHINDUCTOR_CACHE_DIR=$KEEP/compiled TRITON_CACHE_DIR=$KEEP/compiled/triton
    if [ -d "$KIT/parts" ]; then cp -ru "$KIT/parts/." "$KEEP/parts/"; fi
}

# come GROUP: are its parts here?
come() { [ -f "$KEEP/parts/$1/SHA256SUMS" ]; }

# unpack_parts GROUP FOLDER [TAR_OPTION]
unpack_parts() {
    local from=$KEEP/parts/$1
    (cd "$from" && sha256sum --quiet --check SHA256SUMS)
    mkdir -p "$2"
    cat "$from/$1".[0-9]* | tar -x ${3:-} -C "$2"
}

# pack_parts GROUP COMPRESSOR TAR_OPTION...: parts under $KIT/parts/GROUP.
pack_parts() {
    local group=$1 compressor=$2 to=$KIT/parts/$1
    shift 2
    rm -rf "$to"
    mkdir -p "$to"
    tar -c "$@" | $compressor | split -b "${PART:-60m}" -d - "$to/$group."
    (cd "$to" && sha256sum "$group".* >SHA256SUMS)
}

# What is finished, as one archive in $OUT: results, and of every run its record and log.
bring_out() {
    [ -n "${OUT:-}" ] || return 0
    mkdir -p "$OUT"
    (
        cd "$KEEP/tmp"
        rm -rf home && mkdir -p home/runs
        cp -r "$RESULTS" home/results
        cd "$RUNS"
        find . -maxdepth 2 \( -name '*.log' -o -name '*.csv' -o -name '*.json' -o -name '*.yaml' -o -name settings \) \
            -exec cp --parents -t "$KEEP/tmp/home/runs" {} +
        tar -czf "$OUT/results.tar.gz.part" -C "$KEEP/tmp/home" .
        mv "$OUT/results.tar.gz.part" "$OUT/results.tar.gz"
    )
    if [ "$(stat -c %s "$OUT/results.tar.gz")" -gt $((OUT_FILE_MIB << 20)) ]; then
        echo "results.tar.gz is larger than the $OUT_FILE_MIB MiB that come home" >&2
    fi
}

# send_home FIRST FILE...: into $OUT as many of the files as fit beside what is there, from number FIRST on. Sets NEXT to
# the number of the first that did not fit.
send_home() {
    local first=$1 used count size file
    shift
    NEXT=$first
    for file in "${@:first + 1}"; do
        used=$(du -cb "$OUT"/* 2>/dev/null | tail -n 1 | cut -f 1)
        count=$(find "$OUT" -maxdepth 1 -type f | wc -l)
        size=$(stat -c %s "$file")
        if [ "$count" -ge "$OUT_FILES" ] || [ $((used + size)) -gt $((OUT_MIB << 20)) ]; then return; fi
        cp "$file" "$OUT/"
        NEXT=$((NEXT + 1))
    done
}

# until_deadline COMMAND...: ended when the step's time is over.
until_deadline() {
    local left=$((DEADLINE - SECONDS))
    if [ $left -lt 1 ]; then echo "the time of this step is over"; return 124; fi
    timeout --foreground "$left" "$@"
}
