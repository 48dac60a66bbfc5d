#!/usr/bin/env bash
# A private, throw-away SLURM on this machine, for tests: munged, slurmctld, several slurmd and, with
# ACCT=dbd, MariaDB and slurmdbd. By hand, without systemd, as root; all state under $SLURM_CI_ROOT.
#
#   tests/slurm/cluster.sh up      then: . "$SLURM_CI_ROOT/env.sh"
#   tests/slurm/cluster.sh down    (KEEP=1 keeps the logs)
#   tests/slurm/cluster.sh slurmctld | slurmd nodeN     start one daemon again
#
# Knobs: SLURM_CI_ROOT NODES CPUS MEM GPUS ACCT(dbd|none) PORT. Debian packages: slurmctld slurmd
# slurm-client munge; for dbd also slurmdbd and mariadb-server.
set -euo pipefail
R=${SLURM_CI_ROOT:-${TMPDIR:-/tmp}/slurm-ci}
NODES=${NODES:-4} CPUS=${CPUS:-2} MEM=${MEM:-4000} GPUS=${GPUS:-2} ACCT=${ACCT:-none} PORT=${PORT:-17800}
H=$(hostname -s)
export SLURM_CONF=$R/etc/slurm.conf
alive() { [ -s "$1" ] && kill -0 "$(cat "$1" 2>/dev/null)" 2>/dev/null; }   # pidfile -> running?

up() {
[ "$(id -u)" = 0 ] || { echo "must be root" >&2; return 1; }
mkdir -p "$R"/{etc,run,log,state,spool,dev}; chmod 755 "$R" "$R"/*

# ---- configuration ------------------------------------------------------------------------
[ -s "$R/etc/munge.key" ] || { (umask 077; dd if=/dev/urandom of="$R/etc/munge.key" bs=1024 count=1 status=none); }

G=""; GT=""; : > "$R/etc/gres.conf"
if [ "$GPUS" -gt 0 ]; then
  for i in $(seq 0 $((GPUS-1))); do ln -sf /dev/null "$R/dev/nvidia$i"; done   # fake devices: must stat() as a char device
  G=" Gres=gpu:$GPUS"; GT="GresTypes=gpu"
  printf 'AutoDetect=off\nNodeName=node[1-%s] Name=gpu File=%s/dev/nvidia[0-%s]\n' "$NODES" "$R" "$((GPUS-1))" > "$R/etc/gres.conf"
  [ "$GPUS" = 1 ] && sed -i 's/nvidia\[0-0\]/nvidia0/' "$R/etc/gres.conf"
fi
cat > "$R/etc/slurm.conf" <<EOF
ClusterName=ci
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire also sets how long a requeued job waits (default 120 s)
AuthInfo=socket=$R/run/munge.sock,cred_expire=5
StateSaveLocation=$R/state
SlurmdSpoolDir=$R/spool/%n
SlurmctldPidFile=$R/run/slurmctld.pid
SlurmdPidFile=$R/run/slurmd-%n.pid
SlurmctldLogFile=$R/log/slurmctld.log
SlurmdLogFile=$R/log/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
# let several slurmd share one host and promise more CPUs than it has
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
ReturnToService=2
JobRequeue=1
KillWait=3
MinJobAge=86400
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=10
$GT
EOF
if [ "$ACCT" = dbd ]; then cat >> "$R/etc/slurm.conf" <<EOF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT+1))
AccountingStoragePass=$R/run/munge.sock
$( [ "$GPUS" -gt 0 ] && echo AccountingStorageTRES=gres/gpu )
EOF
(umask 077; cat > "$R/etc/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$R/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT+1))
SlurmUser=root
PidFile=$R/run/slurmdbd.pid
LogFile=$R/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT+2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
EOF
)
else echo "AccountingStorageType=accounting_storage/none" >> "$R/etc/slurm.conf"; fi
for i in $(seq 1 "$NODES"); do
  echo "NodeName=node$i NodeHostname=$H NodeAddr=127.0.0.1 Port=$((PORT+10+i)) CPUs=$CPUS RealMemory=$MEM$G State=UNKNOWN"; done >> "$R/etc/slurm.conf"
# jobs in `high` preempt those in the other two: requeued from `low`, after a warning, and cancelled from `spare`
cat >> "$R/etc/slurm.conf" <<EOF
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=spare Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
EOF

# ---- daemons ------------------------------------------------------------------------------
M=$R/run/munged.pid
alive "$M" || { rm -f "$R"/run/munge.sock*; munged --key-file="$R/etc/munge.key" --socket="$R/run/munge.sock" --pid-file="$M" \
   --log-file="$R/log/munged.log" --seed-file="$R/run/munge.seed"; }

if [ "$ACCT" = dbd ]; then
  DB=$R/run/mariadb.pid; SOCK=$R/run/mariadb.sock
  if ! alive "$DB"; then
    if [ ! -d "$R/db/mysql" ]; then
      mariadb-install-db --no-defaults --datadir="$R/db" --user=root --auth-root-authentication-method=normal --skip-test-db >"$R/log/mariadb-install.log" 2>&1; fi
    setsid mariadbd --no-defaults --user=root --datadir="$R/db" --socket="$SOCK" --pid-file="$DB" --bind-address=127.0.0.1 --port=$((PORT+2)) \
      --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 --skip-name-resolve \
      >"$R/log/mariadb.log" 2>&1 </dev/null &
    for _ in $(seq 100); do mariadb-admin --no-defaults --socket="$SOCK" -uroot ping >/dev/null 2>&1 && break; sleep .1; done
    mariadb --no-defaults --socket="$SOCK" -uroot -e "CREATE DATABASE IF NOT EXISTS slurm_acct; CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct.* TO 'slurm'@'127.0.0.1';"
  fi
  if ! alive "$R/run/slurmdbd.pid"; then slurmdbd
    for _ in $(seq 150); do sacctmgr -n list cluster >/dev/null 2>&1 && break; sleep .1; done; fi
  sacctmgr -n list cluster | grep -qw ci || sacctmgr -i add cluster ci >/dev/null
fi
alive "$R/run/slurmctld.pid" || slurmctld
for i in $(seq 1 "$NODES"); do
  mkdir -p "$R/spool/node$i"
  alive "$R/run/slurmd-node$i.pid" || slurmd -N "node$i"; done

# ---- client environment -------------------------------------------------------------------
echo "export SLURM_CONF=$R/etc/slurm.conf" > "$R/env.sh"
for _ in $(seq 150); do
  [ "$(sinfo -hN -t idle,mix,alloc -o %N 2>/dev/null | sort -u | wc -l)" = "$NODES" ] && { sinfo -N -o '%N %t %c %m %G'; return 0; }; sleep .1; done
echo "cluster did not come up" >&2; sinfo >&2; tail -n 20 "$R"/log/slurmctld.log >&2; return 1
}

down() {
set +e
[ -d "$R" ] || return 0
if alive "$R/run/slurmctld.pid"; then       # end jobs first, so that no slurmstepd is orphaned
  timeout 5 scancel -u root 2>/dev/null
  for _ in $(seq 60); do [ -z "$(timeout 2 squeue -h 2>/dev/null)" ] && break; sleep .1; done
fi
stop() { # all the given pidfiles at once; SIGKILL after 8 s
  local f p; for f in "$@"; do alive "$f" && kill "$(cat "$f")"; done 2>/dev/null
  for _ in $(seq 80); do p=0; for f in "$@"; do alive "$f" && p=1; done; [ $p = 0 ] && break; sleep .1; done
  for f in "$@"; do alive "$f" && kill -9 "$(cat "$f")"; rm -f "$f"; done 2>/dev/null; }
stop "$R"/run/slurmd-*.pid "$R/run/slurmctld.pid"
# a slurmstepd and its tasks outlive a slurmd that was killed: end those of this cluster only
# (its SLURM_CONF in the environment, and either a slurmstepd or inside a job); never this script's own shell
{ for d in /proc/[0-9]*; do p=${d#/proc/}; [ "$p" = $$ ] && continue
  e=$(tr '\0' '\n' <"$d/environ") || continue
  grep -qx "SLURM_CONF=$SLURM_CONF" <<<"$e" || continue
  if grep -q '^SLURM_JOB_ID=' <<<"$e" || [[ $(tr '\0' ' ' <"$d/cmdline") == slurmstepd:* ]]; then kill -9 "$p"; fi
done; } 2>/dev/null
stop "$R/run/slurmdbd.pid"
stop "$R/run/mariadb.pid" "$R/run/munged.pid"
[ "${KEEP:-0}" = 1 ] || rm -rf "$R"
return 0
}

case ${1:-} in
up) up ;;
down) down ;;
slurmctld) slurmctld ;;
slurmd) slurmd -N "$2" ;;
*) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
