#!/usr/bin/env bash
# A SLURM of four nodes on this machine, for tests and for trying things out.
#
#   ci/slurm.sh start  [FOLDER]   install SLURM and munge where they are missing, start them, and
#                                 print the line to evaluate: eval "$(ci/slurm.sh start)"
#   ci/slurm.sh status [FOLDER]   print nodes and jobs; exit code 3 when SLURM is not running
#   ci/slurm.sh stop   [FOLDER]   cancel all jobs and end all daemons; logs stay in FOLDER
#
# FOLDER gets the configuration, the key, sockets, state and logs. It is made if need be, has mode
# 755 and no parent that others may not enter. Default: dask-exa-slurm in $TMPDIR or /tmp.
# Starting what runs and stopping what does not is no error.
#
# Packages are Debian's, installed with apt-get. Their services are not started: everything is run
# here by hand, as root, on ports that are free. Nothing outside of FOLDER is written, except that
# /usr/sbin/policy-rc.d is there while apt-get runs, to keep it from starting services.
#
# Exit codes: 0; 2 for a wrong call; 3 not running (status); 77 where it cannot run for want of root
# or of packages, with the reason; 1 for everything else, with the end of the log.
set -euo pipefail

readonly N_NODES=4
readonly PATIENCE=30 # seconds, for every wait
readonly INSTALL_PATIENCE=300

say() { printf 'slurm.sh: %s\n' "$*" >&2; }

skip() {
    say "$*"
    exit 77
}

die() {
    say "$*"
    exit 1
}

# wait_for WHAT LOG COMMAND...: try until the command succeeds; give up with the end of the log.
wait_for() {
    local what=$1 log=$2 end=$((SECONDS + PATIENCE))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            if [ -f "$log" ]; then tail -n 20 "$log" >&2; fi
            say "$what: not after $PATIENCE s"
            return 1
        fi
        sleep 0.05
    done
}

# --- what it takes ---------------------------------------------------------------------------

has_packages() {
    local command
    for command in munged munge slurmctld slurmd sbatch scancel; do
        command -v "$command" >/dev/null || return 1
    done
}

install_packages() {
    command -v apt-get >/dev/null || skip "needs SLURM and munge, or apt-get to install them"
    say "installing slurm-wlm and munge"
    local log="$FOLDER/apt.log" policy=/usr/sbin/policy-rc.d made=
    if [ ! -e $policy ]; then # keeps apt from starting services of its own
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=1
    fi
    local done=
    if apt_install >"$log" 2>&1 || { apt_get update && apt_install; } >>"$log" 2>&1; then
        done=1
    fi
    if [ -n "$made" ]; then rm -f $policy; fi
    if [ -z "$done" ]; then
        tail -n 5 "$log" >&2
        skip "needs SLURM and munge, which apt-get could not install: see $log"
    fi
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive timeout "$INSTALL_PATIENCE" \
        apt-get -q -y -o DPkg::Lock::Timeout=60 "$@" </dev/null
}

apt_install() { apt_get install --no-install-recommends slurm-wlm munge; }

# --- configuration ---------------------------------------------------------------------------

is_port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first of N_NODES + 1 consecutive free ports.
free_ports() {
    local first port
    for ((first = 17000; first < 30000; first += 10)); do
        for ((port = first; port <= first + N_NODES; port++)); do
            is_port_free "$port" || continue 2
        done
        echo "$first"
        return
    done
    die "finds no $((N_NODES + 1)) free ports in a row between 17000 and 30000"
}

# %n keeps the files of the nodes apart: with one pid file, each slurmd ends the one before it.
# config_overrides lets nodes be larger than their share of this machine.
write_configuration() {
    local host port
    host=$(hostname -s)
    port=$(free_ports)
    cat >"$CONF" <<END
ClusterName=exa
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$MUNGE/socket
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
StateSaveLocation=$FOLDER/state
SlurmctldPidFile=$FOLDER/slurmctld.run
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdSpoolDir=$FOLDER/spool/%n
SlurmdPidFile=$FOLDER/%n.run
SlurmdLogFile=$FOLDER/%n.log
NodeName=n[1-$N_NODES] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + N_NODES))] CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

# munged runs as the user that Debian's package makes, and trusts only what is that user's.
write_key() {
    mkdir -m 755 "$MUNGE"
    dd if=/dev/urandom of="$MUNGE/key" bs=1024 count=1 status=none
    chmod 400 "$MUNGE/key"
    chown -R munge: "$MUNGE"
}

# --- daemons ---------------------------------------------------------------------------------

# launch NAME COMMAND...: run a daemon in a session of its own and note its process id.
launch() {
    local name=$1
    shift
    (
        cd "$FOLDER"
        exec setsid "$@"
    ) </dev/null >>"$FOLDER/$name.out" 2>&1 &
    echo $! >"$FOLDER/$name.pid"
}

# Process ids of our daemons that still run. A number may have gone to another process since.
daemons() {
    local file pid
    for file in "$FOLDER"/*.pid; do
        [ -f "$file" ] || continue
        pid=$(<"$file")
        if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$FOLDER/"; then
            echo "$pid"
        fi
    done
}

# Process ids of jobs of our SLURM.
job_processes() {
    { grep -lzs '^SLURM_JOB_ID=' /proc/[0-9]*/environ || true; } |
        { xargs -r grep -lzsxF "SLURM_CONF=$CONF" || true; } |
        cut -d / -f 3
}

munge_answers() { munge -S "$MUNGE/socket" -n | unmunge -S "$MUNGE/socket"; }
controller_answers() { timeout 5 scontrol ping | grep -q 'is UP'; }
nodes_answer() { [ "$(timeout 5 sinfo -h -N -t idle,mixed,allocated -o %N | sort -u | wc -l)" -eq $N_NODES ]; }
no_jobs() { [ -z "$(timeout 5 squeue -h -o %i)" ]; }
no_daemons() { [ -z "$(daemons)" ]; }
is_running() { [ -f "$CONF" ] && [ -n "$(daemons)" ] && controller_answers && nodes_answer; }

start() {
    [ "$(id -u)" -eq 0 ] || skip "needs root: slurmd runs jobs for other users"
    make_folder
    has_packages || install_packages
    if ! is_running; then
        stop # what is left of an earlier one
        rm -rf "$FOLDER/state" "$FOLDER/spool" "$MUNGE" "$FOLDER"/*.log "$FOLDER"/*.out
        mkdir "$FOLDER/state" "$FOLDER/spool"
        write_configuration
        write_key
        start_daemons || {
            stop
            die "SLURM did not start; see the logs in $FOLDER"
        }
    fi
    printf 'export SLURM_CONF=%q\n' "$CONF"
}

# In a folder that somebody else made, as anybody can in /tmp, root starts nothing.
make_folder() {
    mkdir -p "$FOLDER"
    [ -O "$FOLDER" ] || die "FOLDER=$FOLDER belongs to somebody else; name another one"
    chmod 755 "$FOLDER"
}

start_daemons() {
    local node
    launch munged setpriv --reuid=munge --regid=munge --clear-groups munged --foreground \
        --key-file="$MUNGE/key" --socket="$MUNGE/socket" \
        --pid-file="$MUNGE/pid" --log-file="$MUNGE/log" \
        --seed-file="$MUNGE/seed"
    wait_for "an answer of munged" "$FOLDER/munged.out" munge_answers || return
    launch slurmctld slurmctld -D -c -f "$CONF"
    for ((node = 1; node <= N_NODES; node++)); do
        launch "n$node" slurmd -D -N "n$node" -f "$CONF"
    done
    wait_for "an answer of slurmctld" "$FOLDER/slurmctld.log" controller_answers || return
    wait_for "$N_NODES idle nodes" "$FOLDER/slurmctld.log" nodes_answer
}

status() {
    if ! is_running; then
        echo "not running in $FOLDER"
        exit 3
    fi
    echo "SLURM_CONF=$CONF"
    sinfo -N -o '%N %T'
    squeue
}

stop() {
    local pids
    if [ -f "$CONF" ] && [ -n "$(daemons)" ] && controller_answers; then
        squeue -h -o %A | xargs -r scancel --signal=KILL --full || true
        squeue -h -o %A | xargs -r scancel || true
        wait_for "the end of all jobs" "$FOLDER/slurmctld.log" no_jobs || true
    fi
    pids=$(daemons)
    if [ -n "$pids" ]; then
        kill $pids 2>/dev/null || true
        wait_for "the end of all daemons" /dev/null no_daemons || kill -9 $(daemons)
    fi
    pids=$(job_processes) # whose slurmd was gone before them
    if [ -n "$pids" ]; then kill -9 $pids 2>/dev/null || true; fi
    rm -f "$FOLDER"/*.pid
}

main() {
    case "${1:-}" in
        start | stop | status) ;;
        *)
            say "usage: ci/slurm.sh start|status|stop [FOLDER]"
            exit 2
            ;;
    esac
    FOLDER=$(realpath -m "${2:-${TMPDIR:-/tmp}/dask-exa-slurm}")
    CONF=$FOLDER/slurm.conf MUNGE=$FOLDER/munge
    export SLURM_CONF=$CONF PATH=$PATH:/usr/sbin:/sbin
    "$1"
}

main "$@"
