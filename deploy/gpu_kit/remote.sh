# Folders on the GPU machine, and how results get back. day.sh and tensorrt.sh read this file, after limits.sh.
#
# KEEP  files that must last from one command to the next: runs, results, data, packages, engines, compiled networks. In
#       memory (/dev/shm) where KEEP_GIB are free there, else under TMPDIR or /tmp.
# OUT   a folder whose files are downloaded after a command, if the machine has one: at most OUT_FILES of OUT_FILE_MIB each,
#       OUT_MIB together.

keep_folder() {
    local folder memory=/dev/shm/edgemate-day disk=${TMPDIR:-/tmp}/edgemate-day
    for folder in "$memory" "$disk"; do  # an existing folder first, whatever is free now
        if [ -d "$folder" ]; then echo "$folder"; return; fi
    done
    if [ -w /dev/shm ] && [ "$(df --output=avail -k /dev/shm | tail -n 1)" -ge $((KEEP_GIB << 20)) ]; then
        echo "$memory"
    else
        echo "$disk"
    fi
}

set_folders() {
    export KEEP=${KEEP:-$(keep_folder)}
    export RUNS=${RUNS:-$KEEP/runs} RESULTS=${RESULTS:-$KEEP/results} SITE=${SITE:-$KEEP/site}
    KEEP=$(realpath -m "$KEEP") RUNS=$(realpath -m "$RUNS") RESULTS=$(realpath -m "$RESULTS") SITE=$(realpath -m "$SITE")
}

# Before a step: make the folders and copy the uploaded parts, in however many commands they were uploaded.
prepare_folders() {
    mkdir -p "$KEEP/tmp" "$KEEP/parts" "$RUNS" "$RESULTS"
    # Worker processes make sockets in TMPDIR. A socket's path has at most 107 bytes, of which Python's name takes 32.
    [ ${#KEEP} -gt 71 ] || export TMPDIR=$KEEP/tmp
    # The record of the engines that were built, without which the next command would not run them.
    export EDGEMATE_TRUST=$KEEP/trust
    # Shared, so that the next process does not compile the same network again.
    export TORCHINDUCTOR_CACHE_DIR=$KEEP/compiled TRITON_CACHE_DIR=$KEEP/compiled/triton
    if [ -d "$KIT/parts" ]; then cp -ru "$KIT/parts/." "$KEEP/parts/"; fi
}

# uploaded GROUP: are its parts in KEEP?
uploaded() { [ -f "$KEEP/parts/$1/SHA256SUMS" ]; }

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
    tar -c "$@" | $compressor | split -b "${UPLOAD_MIB}m" -d - "$to/$group."
    (cd "$to" && sha256sum "$group".* >SHA256SUMS)
}

# Results, and the record and log of every run, as one archive in $OUT.
copy_results() {
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
        echo "results.tar.gz is larger than OUT_FILE_MIB=$OUT_FILE_MIB" >&2
    fi
}

# copy_parts FIRST FILE...: copy to $OUT as many of the files as still fit, from number FIRST on. Sets NEXT to the number of
# the first that did not fit.
copy_parts() {
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

# until_deadline COMMAND...: run it, and end it when the step's time is up.
until_deadline() {
    local left=$((DEADLINE - SECONDS))
    if [ $left -lt 1 ]; then echo "this step's time is up"; return 124; fi
    timeout --foreground "$left" "$@"
}
