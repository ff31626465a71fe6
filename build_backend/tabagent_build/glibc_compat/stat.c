/* stat and its family, which are functions of libc.so only since glibc 2.33. Before, libc_nonshared.a had them over these functions, each of which is
   told a version of `struct stat`: `_STAT_VER` of sysdeps/unix/sysv/linux/x86/bits/xstatver.h, and of the generic one for AArch64, of glibc 2.28. */
#define _GNU_SOURCE
#include <sys/stat.h>

#if defined(__x86_64__)
#define STAT_VERSION 1
#elif defined(__aarch64__)
#define STAT_VERSION 0
#else
#error "the version of `struct stat` is not known for this processor"
#endif
#define HIDDEN __attribute__((visibility("hidden")))

/* Both sizes are the same structure on 64-bit processors. */
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "64-bit file offsets");

extern int __xstat(int, const char *, struct stat *);
extern int __lxstat(int, const char *, struct stat *);
extern int __fxstat(int, int, struct stat *);
extern int __fxstatat(int, int, const char *, struct stat *, int);

HIDDEN int stat(const char *restrict path, struct stat *restrict found) { return __xstat(STAT_VERSION, path, found); }
HIDDEN int lstat(const char *restrict path, struct stat *restrict found) { return __lxstat(STAT_VERSION, path, found); }
HIDDEN int fstat(int file, struct stat *found) { return __fxstat(STAT_VERSION, file, found); }
HIDDEN int fstatat(int folder, const char *restrict path, struct stat *restrict found, int flags) {
    return __fxstatat(STAT_VERSION, folder, path, found, flags);
}
HIDDEN int stat64(const char *restrict path, struct stat64 *restrict found) { return __xstat(STAT_VERSION, path, (struct stat *) found); }
HIDDEN int lstat64(const char *restrict path, struct stat64 *restrict found) { return __lxstat(STAT_VERSION, path, (struct stat *) found); }
HIDDEN int fstat64(int file, struct stat64 *found) { return __fxstat(STAT_VERSION, file, (struct stat *) found); }
HIDDEN int fstatat64(int folder, const char *restrict path, struct stat64 *restrict found, int flags) {
    return __fxstatat(STAT_VERSION, folder, path, (struct stat *) found, flags);
}
