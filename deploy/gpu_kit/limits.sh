# Limits of the machine with the GPU, as its lender sets them. Each is an environment variable; these are the defaults.
# day.sh, tensorrt.sh and remote.sh read this file.

export TOTAL_MINUTES=${TOTAL_MINUTES:-30}      # time on the machine: 30 or more in one session, 15 or more in each of two
export COMMAND_SECONDS=${COMMAND_SECONDS:-570}  # one command may run this long
export UPLOAD_MIB=${UPLOAD_MIB:-60}             # largest file that can be uploaded; archives are split to fit
export OUT_FILES=${OUT_FILES:-8}                # files that can be downloaded after one command
export OUT_FILE_MIB=${OUT_FILE_MIB:-16}         # size of each of them
export OUT_MIB=${OUT_MIB:-64}                   # size of all of them together
export KEEP_GIB=${KEEP_GIB:-12}                 # free memory in /dev/shm that files between two commands need
