/* Preloaded into a node, this is a file system without modes: all files are 0777, chmod fails, there
 * are no hard links, and a folder cannot be synced. WITHOUT_MODES names the folder that is on it; if
 * it is not set, everything is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int within(const char *path) {
  const char *folder = getenv("WITHOUT_MODES");
  char found[PATH_MAX];
  if (folder == NULL) return 1;
  return realpath(path, found) != NULL && strncmp(found, folder, strlen(folder)) == 0;
}

static int holds(int file) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  return within(path);
}

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
  REAL(statx);
  int result = real(folder, path, flags, mask, found);
  int is_file = path == NULL || *path == 0;
  if (result == 0 && (is_file ? holds(folder) : within(path))) found->stx_mode |= 0777;
  return result;
}

int fstat64(int file, struct stat64 *found) {
  REAL(fstat64);
  int result = real(file, found);
  if (result == 0 && holds(file)) found->st_mode |= 0777;
  return result;
}

int stat64(const char *restrict path, struct stat64 *restrict found) {
  REAL(stat64);
  int result = real(path, found);
  if (result == 0 && within(path)) found->st_mode |= 0777;
  return result;
}

int fchmod(int file, mode_t mode) {
  REAL(fchmod);
  if (!holds(file)) return real(file, mode);
  errno = EPERM;
  return -1;
}

int chmod(const char *path, mode_t mode) {
  REAL(chmod);
  if (!within(path)) return real(path, mode);
  errno = EPERM;
  return -1;
}

int link(const char *from, const char *to) {
  REAL(link);
  if (!within(from)) return real(from, to);
  errno = EPERM;
  return -1;
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
  REAL(linkat);
  if (!within(from)) return real(a, from, b, to, flags);
  errno = EPERM;
  return -1;
}

int fsync(int file) {
  REAL(fsync);
  struct stat found;
  if (fstat(file, &found) == 0 && S_ISDIR(found.st_mode) && holds(file)) {
    errno = EINVAL;
    return -1;
  }
  return real(file);
}
