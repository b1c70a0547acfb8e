/* Preloaded into a node, this is a file system without modes: all files are 0777, chmod fails, there
 * are no hard links, and a folder cannot be synced. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
  REAL(statx);
  int result = real(folder, path, flags, mask, found);
  if (result == 0) found->stx_mode |= 0777;
  return result;
}

int fstat64(int file, struct stat64 *found) {
  REAL(fstat64);
  int result = real(file, found);
  if (result == 0) found->st_mode |= 0777;
  return result;
}

int stat64(const char *restrict path, struct stat64 *restrict found) {
  REAL(stat64);
  int result = real(path, found);
  if (result == 0) found->st_mode |= 0777;
  return result;
}

int fchmod(int file, mode_t mode) { errno = EPERM; return -1; }
int chmod(const char *path, mode_t mode) { errno = EPERM; return -1; }
int link(const char *from, const char *to) { errno = EPERM; return -1; }
int linkat(int a, const char *from, int b, const char *to, int flags) { errno = EPERM; return -1; }

int fsync(int file) {
  REAL(fsync);
  struct stat found;
  if (fstat(file, &found) == 0 && S_ISDIR(found.st_mode)) { errno = EINVAL; return -1; }
  return real(file);
}
