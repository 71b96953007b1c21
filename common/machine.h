/*
 * What the machine has.  Reads /proc and /sys; caches nothing.
 */
#ifndef COMMON_MACHINE_H
#define COMMON_MACHINE_H

#include <stdint.h>

/* Bytes of memory that this process may hope for: the machine's, or the limit of the control group
 * (a container, a systemd service) that it is in, if that is less. */
int64_t machine_memory_bytes(void);

/* The least memory.max of the group `path` ("/a/b") and those above it, of the version 2 hierarchy
 * mounted at `mount`; INT64_MAX if none has a limit. */
int64_t machine_group_bytes(const char *mount, const char *path);

#endif
