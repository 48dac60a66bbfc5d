# After the job's own process, in the batch script, which outlives it whatever killed it: does this
# job run again? Not when it is through, nor after 78 (cannot work here). After 75 (stopped at its
# checkpoints) at once. After anything else it broke: three times in all, waiting longer each time. It
# is through when it says so: srun returns 0 for a failed node, too.
code=$?
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
again=no
[ $code != 0 ] || [ -e "$LONGTAIL_BATCH/through/$job" ] || code=1
case $code in
0 | 78) ;;
75) again=yes ;;
# told to end: by a preemption with time for it, if it still counts as running; else it is cancelled
130 | 143) ! squeue -h -j "$SLURM_JOB_ID" -o %T | grep -qx RUNNING || again=yes ;;
*)
    mkdir -p "$LONGTAIL_BATCH/failures"
    echo "$code" >>"$LONGTAIL_BATCH/failures/$job"
    count=$(wc -l <"$LONGTAIL_BATCH/failures/$job")
    if [ "$count" -lt 3 ]; then
        again=yes
        sleep $((LONGTAIL_BACKOFF << (count - 1)))
    fi
    ;;
esac
echo "longtail: job $job ended with code $code, to be queued again: $again" >&2
# slurmctld may be away for a moment
tries=30
while [ $again = yes ] && ! scontrol requeue "$job" && [ $((tries -= 1)) -gt 0 ]; do sleep 10; done
exit $code
