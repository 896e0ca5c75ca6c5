# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rruntime_global_optspecs
    string join \n root= log= log-format= log-level= debug cgroup-manager= systemd-cgroup rootless= criu= v/version h/help
end

function __fish_rruntime_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rruntime_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rruntime_using_subcommand
    set -l cmd (__fish_rruntime_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rruntime -n "__fish_rruntime_needs_command" -l root -d 'directory of the containers\' state (default: /run/rruntime, rootless $XDG_RUNTIME_DIR/rruntime)' -r -f -a "(__fish_complete_directories)"
complete -c rruntime -n "__fish_rruntime_needs_command" -l log -d 'append log records to FILE instead of printing them on stderr' -r -F
complete -c rruntime -n "__fish_rruntime_needs_command" -l log-format -d 'how log records are written (default: text)' -r -f -a "text\t''
json\t''"
complete -c rruntime -n "__fish_rruntime_needs_command" -l log-level -d 'the least grave records to write (default: warning)' -r -f -a "error\t''
warning\t''
info\t''
debug\t''"
complete -c rruntime -n "__fish_rruntime_needs_command" -l cgroup-manager -d 'who makes the container\'s cgroup (default: cgroupfs)' -r -f -a "cgroupfs\t''
systemd\t''
disabled\t''"
complete -c rruntime -n "__fish_rruntime_needs_command" -l rootless -d 'go on where cgroups may not be written (default: auto)' -r -f -a "auto\t''
true\t''
false\t''"
complete -c rruntime -n "__fish_rruntime_needs_command" -l criu -d 'taken from old callers: CRIU is found in $PATH' -r -F
complete -c rruntime -n "__fish_rruntime_needs_command" -l debug -d 'the same as --log-level debug'
complete -c rruntime -n "__fish_rruntime_needs_command" -l systemd-cgroup -d 'the same as --cgroup-manager systemd'
complete -c rruntime -n "__fish_rruntime_needs_command" -s v -l version -d 'print the version and exit'
complete -c rruntime -n "__fish_rruntime_needs_command" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "create" -d 'Make a container that waits for start'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "start" -d 'Let the program of a created container run'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "run" -d 'Make a container and run it'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "exec" -d 'Run a further program in a container'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "kill" -d 'Send a signal to a container'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "delete" -d 'Remove a container'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "state" -d 'Print a container\'s state as JSON'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "list" -d 'Print all containers'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "ps" -d 'Print the processes of a container'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "pause" -d 'Freeze all processes of a container'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "resume" -d 'Let a paused container run on'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "update" -d 'Change the resource limits of a container'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "events" -d 'Print statistics and out-of-memory events as lines of JSON'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "spec" -d 'Write a first config.json'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "features" -d 'Print what this runtime supports as JSON'
complete -c rruntime -n "__fish_rruntime_needs_command" -f -a "check" -d 'Say what this host has for containers, and whether a bundle would be accepted'
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -s f -l config -d 'configuration to use instead of the bundle\'s config.json' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l pid-file -d 'write the process id to FILE' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l console-socket -d 'AF_UNIX socket that receives the master end of the terminal' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l pidfd-socket -d 'AF_UNIX socket that receives a pidfd of the process' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l preserve-fds -d 'pass N more descriptors, from 3 on, besides those of $LISTEN_FDS' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l no-pivot -d 'enter the root file system by moving it, not by pivot_root: for a host root on a ramdisk'
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -l no-subreaper -d 'without effect here'
complete -c rruntime -n "__fish_rruntime_using_subcommand create" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand start" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -s f -l config -d 'configuration to use instead of the bundle\'s config.json' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l pid-file -d 'write the process id to FILE' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l console-socket -d 'AF_UNIX socket that receives the master end of the terminal' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l pidfd-socket -d 'AF_UNIX socket that receives a pidfd of the process' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l preserve-fds -d 'pass N more descriptors, from 3 on, besides those of $LISTEN_FDS' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -s d -l detach -d 'return as soon as the program runs'
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l keep -d 'do not delete the container when its program has ended'
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l no-pivot -d 'enter the root file system by moving it, not by pivot_root: for a host root on a ramdisk'
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -l no-subreaper -d 'do not adopt orphaned processes of the container'
complete -c rruntime -n "__fish_rruntime_using_subcommand run" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s p -l process -d 'JSON file with the whole process object: no other description is used' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l cwd -d 'working directory in the container' -r -f -a "(__fish_complete_directories)"
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s e -l env -d 'set an environment variable; may be repeated' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s u -l user -d 'user and group, as numbers' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s g -l additional-gids -d 'add a supplementary group; may be repeated' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s c -l cap -d 'add a capability; may be repeated' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l process-label -d 'SELinux label' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l apparmor -d 'AppArmor profile' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l cgroup -d 'run in this existing cgroup below the container\'s; may be repeated on cgroup v1' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l pid-file -d 'write the process id to FILE' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l console-socket -d 'AF_UNIX socket that receives the master end of the terminal' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l pidfd-socket -d 'AF_UNIX socket that receives a pidfd of the process' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l preserve-fds -d 'pass N more descriptors, from 3 on, besides those of $LISTEN_FDS' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s t -l tty -d 'give the program a terminal'
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l no-new-privs -d 'set no_new_privs'
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -l ignore-paused -d 'go on if the container is paused'
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s d -l detach -d 'return as soon as the program runs'
complete -c rruntime -n "__fish_rruntime_using_subcommand exec" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand kill" -s a -l all -d 'send it to all processes of the container'
complete -c rruntime -n "__fish_rruntime_using_subcommand kill" -s r -l regex -d 'ID is an extended regular expression: act on every container that it matches'
complete -c rruntime -n "__fish_rruntime_using_subcommand kill" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand delete" -s f -l force -d 'kill it if it runs; do nothing if it does not exist'
complete -c rruntime -n "__fish_rruntime_using_subcommand delete" -s r -l regex -d 'ID is an extended regular expression: act on every container that it matches'
complete -c rruntime -n "__fish_rruntime_using_subcommand delete" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand state" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand list" -s f -l format -d 'what to print (default: table)' -r -f -a "table\t''
json\t''"
complete -c rruntime -n "__fish_rruntime_using_subcommand list" -s q -l quiet -d 'print ids only'
complete -c rruntime -n "__fish_rruntime_using_subcommand list" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand ps" -s f -l format -d 'what to print (default: table)' -r -f -a "table\t''
json\t''"
complete -c rruntime -n "__fish_rruntime_using_subcommand ps" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand pause" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand resume" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -s r -l resources -d 'JSON file with a resources object, - for stdin; the limits below are ignored then' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l blkio-weight -d 'weight of block I/O, 10 to 1000' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-period -d 'period of the CPU limit in microseconds' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-quota -d 'CPU time in each period in microseconds, -1 for no limit' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-burst -d 'unused CPU time that may be used later, in microseconds' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-share -d 'share of the CPU relative to others' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-rt-period -d 'period of the realtime limit in microseconds' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-rt-runtime -d 'realtime CPU time in each period in microseconds' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpu-idle -d '1: run only when nobody else wants the CPU' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpuset-cpus -d 'CPUs to use: 0-3,7' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l cpuset-mems -d 'memory nodes to use: 0-1' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l memory -d 'memory limit, with k, m, g if need be, -1 for no limit' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l memory-reservation -d 'memory to keep to when it is scarce' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l memory-swap -d 'limit of memory and swap together, -1 for no limit' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l kernel-memory -d 'without effect on today\'s kernels' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l kernel-memory-tcp -d 'without effect on today\'s kernels' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l pids-limit -d 'number of tasks, -1 for no limit' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l l3-cache-schema -d 'Intel RDT: share of the L3 cache' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -l mem-bw-schema -d 'Intel RDT: share of the memory bandwidth' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand update" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand events" -l interval -d 'time between two statistics: 500ms, 5s, 1m30s (default: 5s)' -r -f
complete -c rruntime -n "__fish_rruntime_using_subcommand events" -l stats -d 'print the statistics once and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand events" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand spec" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c rruntime -n "__fish_rruntime_using_subcommand spec" -s f -l file -d 'write to FILE instead of config.json' -r -F
complete -c rruntime -n "__fish_rruntime_using_subcommand spec" -l rootless -d 'for a container of an ordinary user'
complete -c rruntime -n "__fish_rruntime_using_subcommand spec" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand features" -s h -l help -d 'print help and exit'
complete -c rruntime -n "__fish_rruntime_using_subcommand check" -s b -l bundle -d 'say too whether the bundle in DIR would be accepted' -r -f -a "(__fish_complete_directories)"
complete -c rruntime -n "__fish_rruntime_using_subcommand check" -s f -l format -d 'what to print (default: text)' -r -f -a "text\t''
json\t''"
complete -c rruntime -n "__fish_rruntime_using_subcommand check" -s h -l help -d 'print help and exit'
