/* The kernel's floor: what running the benchmark's default bundle costs with bare system calls.
 *
 *     floor ROOTFS PROGRAM
 *
 * It does once what benches/data/default.json asks for: cgroups, namespaces, mounts, device nodes, pivot_root, masked
 * and read-only paths, limits, capabilities, exec; then it waits and removes the cgroups. It reads no JSON, keeps no
 * state, checks nothing, hardens nothing and undoes nothing, so that no runtime can be faster. The benchmark's
 * ratios are to this program. Needs root, and a root file system with /proc, /dev and /sys.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CGROUP_ROOT "/sys/fs/cgroup"

enum { PLAIN = MS_NOSUID | MS_NOEXEC | MS_NODEV };

/* The hierarchies of cgroup v1, each mounted by itself under its own name. */
static const char *const hierarchies[] = {"cpu",    "cpuacct", "cpuset", "memory", "devices",
                                          "freezer", "blkio",   "pids",   "systemd"};

/* Where the container's cgroups are: one on v2, one in each hierarchy on v1. */
static struct {
    bool v2;
    size_t count;
    char path[COUNT(hierarchies)][96];
} cgroups;

static void check(long result, const char *what) {
    if (result < 0) err(99, "%s", what);
}

/* Writes what may not be there to be written: a missing file is no fault of the floor's. */
static void write_file(const char *directory, const char *name, const char *value) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    if (write(file, value, strlen(value)) < 0) warn("write %s", path);
    close(file);
}

/* Nothing but the default devices, and device nodes may be made: what every runtime allows beside the config. */
static void limit_devices(const char *directory) {
    char path[160];
    snprintf(path, sizeof path, "%s/devices.allow", directory);
    static const char *const allowed[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm",
                                          "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
    write_file(directory, "devices.deny", "a");
    int file = open(path, O_WRONLY | O_CLOEXEC);
    check(file, path);
    for (size_t i = 0; i < COUNT(allowed); i++) check(write(file, allowed[i], strlen(allowed[i])), path);
    close(file);
}

static void make_cgroups(void) {
    struct statfs root;
    check(statfs(CGROUP_ROOT, &root), "statfs " CGROUP_ROOT);
    cgroups.v2 = root.f_type == CGROUP2_SUPER_MAGIC;
    cgroups.count = cgroups.v2 ? 1 : COUNT(hierarchies);
    for (size_t i = 0; i < cgroups.count; i++) {
        char *path = cgroups.path[i];
        const char *hierarchy = cgroups.v2 ? "." : hierarchies[i];
        snprintf(path, sizeof cgroups.path[i], CGROUP_ROOT "/%s/rruntime-floor-%d", hierarchy, getpid());
        check(mkdir(path, 0755), path);
        if (strcmp(hierarchy, "cpuset") == 0) { /* empty ones let nobody in: cpusets(7) */
            write_file(path, "cpuset.cpus", "0");
            write_file(path, "cpuset.mems", "0");
        }
        if (strcmp(hierarchy, "devices") == 0) limit_devices(path);
    }
}

static void enter_cgroups(pid_t pid) {
    char text[16];
    snprintf(text, sizeof text, "%d", pid);
    for (size_t i = 0; i < cgroups.count; i++) write_file(cgroups.path[i], "cgroup.procs", text);
}

static void remove_cgroups(void) {
    for (size_t i = 0; i < cgroups.count; i++) check(rmdir(cgroups.path[i]), cgroups.path[i]);
}

struct mount_step {
    const char *target, *type, *data;
    unsigned long flags;
};

static void mount_file_systems(void) {
    static const struct mount_step steps[] = {
        {"proc", "proc", NULL, 0},
        {"dev", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME},
        {"dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC},
        {"dev/shm", "tmpfs", "mode=1777,size=65536k", PLAIN},
        {"dev/mqueue", "mqueue", NULL, PLAIN},
        {"sys", "sysfs", NULL, PLAIN | MS_RDONLY},
    };
    for (const struct mount_step *step = steps; step < steps + COUNT(steps); step++) {
        if (strncmp(step->target, "dev/", 4) == 0) check(mkdir(step->target, 0755), step->target);
        check(mount(step->type, step->target, step->type, step->flags, step->data), step->target);
    }
}

static void mount_cgroups(void) {
    if (cgroups.v2) {
        check(mount("cgroup", "sys/fs/cgroup", "cgroup2", PLAIN | MS_RDONLY, NULL), "cgroup2");
        return;
    }
    check(mount("tmpfs", "sys/fs/cgroup", "tmpfs", PLAIN, "mode=755"), "tmpfs for cgroups");
    for (size_t i = 0; i < COUNT(hierarchies); i++) {
        char target[64];
        snprintf(target, sizeof target, "sys/fs/cgroup/%s", hierarchies[i]);
        check(mkdir(target, 0755), target);
        const char *which = strcmp(hierarchies[i], "systemd") == 0 ? "none,name=systemd" : hierarchies[i];
        check(mount("cgroup", target, "cgroup", PLAIN | MS_RDONLY, which), target);
    }
    check(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | PLAIN, NULL), "cgroups read-only");
}

static void fill_dev(void) {
    static const struct { const char *path; unsigned major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
    };
    static const struct { const char *path, *to; } links[] = {
        {"dev/fd", "/proc/self/fd"}, {"dev/stdin", "/proc/self/fd/0"}, {"dev/stdout", "/proc/self/fd/1"},
        {"dev/stderr", "/proc/self/fd/2"}, {"dev/ptmx", "pts/ptmx"},
    };
    umask(0);
    for (size_t i = 0; i < COUNT(nodes); i++)
        check(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
    for (size_t i = 0; i < COUNT(links); i++) check(symlink(links[i].to, links[i].path), links[i].path);
    umask(022);
}

/* Paths that this kernel does not have are passed over, as a runtime has to. */
static void hide_paths(void) {
    static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    static const char *const masked[] = {
        "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
    };
    for (size_t i = 0; i < COUNT(read_only); i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0) continue;
        check(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | PLAIN, NULL), read_only[i]);
    }
    for (size_t i = 0; i < COUNT(masked); i++) {
        if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno == ENOTDIR)
            check(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL), masked[i]);
    }
}

static void drop_privileges(void) {
    const struct rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
    check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
    const uint64_t kept = 1ULL << CAP_AUDIT_WRITE | 1ULL << CAP_KILL | 1ULL << CAP_NET_BIND_SERVICE;
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if ((kept >> capability & 1) == 0) check(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "PR_CAPBSET_DROP");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
}

/* Everything of init's, up to the exec. */
static _Noreturn void become_container(const char *rootfs, char *program) {
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private /");
    check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
    check(chdir(rootfs), rootfs);
    mount_file_systems();
    mount_cgroups();
    fill_dev();
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount2");
    check(chdir("/"), "chdir");
    check(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "root read-only");
    check(sethostname("default", 7), "sethostname");
    hide_paths();
    drop_privileges();
    check(syscall(SYS_close_range, 3, ~0U, 0), "close_range");
    execve(program, (char *[]){program, NULL}, (char *[]){"PATH=/bin", NULL});
    err(127, "%s", program);
}

int main(int argc, char **argv) {
    if (argc != 3) errx(2, "usage: floor ROOTFS PROGRAM");
    make_cgroups();

    struct clone_args how = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    if (cgroups.v2) {
        int directory = open(cgroups.path[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
        check(directory, cgroups.path[0]);
        how.flags |= CLONE_INTO_CGROUP;
        how.cgroup = directory;
    }
    int gate[2]; /* init waits for its end-of-file: it has to be in its cgroups first */
    check(pipe2(gate, O_CLOEXEC), "pipe2");
    long pid = syscall(SYS_clone3, &how, sizeof how);
    check(pid, "clone3");
    if (pid == 0) {
        char nothing;
        close(gate[1]);
        check(read(gate[0], &nothing, 1), "read");
        become_container(argv[1], argv[2]);
    }
    if (!cgroups.v2) enter_cgroups(pid);
    close(gate[1]);

    int status;
    check(waitpid(pid, &status, 0), "waitpid");
    remove_cgroups();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
