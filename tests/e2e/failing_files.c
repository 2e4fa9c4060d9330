/* While the file named by FAIL_SYNC exists, every sync of this process answers EIO; while that of FAIL_WRITE does, every write
   to a place of a file answers EROFS; while that of SLOW_SYNC does, every sync takes a second longer. Loaded before the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(const char *variable) {
    const char *flag = getenv(variable);
    return flag && access(flag, F_OK) == 0;
}

static int sync_or_fail(const char *name, int fd) {
    if (fails("FAIL_SYNC")) {
        errno = EIO;
        return -1;
    }
    if (fails("SLOW_SYNC"))
        sleep(1);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

static ssize_t write_or_fail(const char *name, int fd, const void *bytes, size_t count, off64_t at) {
    if (fails("FAIL_WRITE")) {
        errno = EROFS;
        return -1;
    }
    ssize_t (*real)(int, const void *, size_t, off64_t) = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, name);
    return real(fd, bytes, count, at);
}

int fdatasync(int fd) { return sync_or_fail("fdatasync", fd); }
int fsync(int fd) { return sync_or_fail("fsync", fd); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_or_fail("pwrite", fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_or_fail("pwrite64", fd, bytes, count, at); }
