/* The clocks, their lock, and the reasons why they are low. */
#define _GNU_SOURCE
#include "calls.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { CLOCK_GRAPHICS, CLOCK_SM, CLOCK_MEM, CLOCK_COUNT = 4 };
enum { STATE_LINE = 32 };

/* The lock is the machine's, not a process's: it is kept in <scenario>.state, a line of STATE_LINE bytes a card. */

static int open_state(int flags)
{
    char path[MAX_FILE + 8];
    snprintf(path, sizeof path, "%s.state", machine.path);
    return open(path, flags, 0666);
}

static bool read_lock(const Device *card, unsigned *low, unsigned *high)
{
    char line[STATE_LINE + 1] = "";
    unsigned index;
    int file = open_state(O_RDONLY);
    ssize_t size = file < 0 ? 0 : pread(file, line, STATE_LINE, (off_t)card->index * STATE_LINE);
    if (file >= 0)
        close(file);
    return size == STATE_LINE && sscanf(line, "%u %u %u", &index, low, high) == 3 && *high > 0;
}

static Result write_lock(const Device *card, unsigned low, unsigned high)
{
    char line[STATE_LINE + 1];
    snprintf(line, sizeof line, "%7u %11u %11u\n", card->index, low, high);
    int file = open_state(O_WRONLY | O_CREAT);
    bool written = file >= 0 && pwrite(file, line, STATE_LINE, (off_t)card->index * STATE_LINE) == STATE_LINE;
    if (file >= 0)
        close(file);
    return written ? SUCCESS : UNKNOWN;
}

static double sm_clock(const Device *device, double t)
{
    unsigned low, high;
    double free_mhz = step_at(device, C_sm_clock_mhz, t), holds_mhz = device->number[N_clock_holds_mhz];
    if (isnan(free_mhz) || !read_lock(device, &low, &high))
        return free_mhz;
    return isnan(holds_mhz) ? fmin(fmax(free_mhz, low), high) : holds_mhz;
}

EXPORT Result nvmlDeviceGetClockInfo(Device *device, unsigned type, unsigned *out)
{
    ENTER(device, CARD_ONLY)
    if (type >= CLOCK_COUNT)
        return INVALID_ARGUMENT;
    if (type == CLOCK_MEM)
        return give_uint(step_at(device, C_memory_clock_mhz, t), out);
    return type <= CLOCK_SM ? give_uint(sm_clock(device, t), out) : NOT_SUPPORTED;
}

EXPORT Result nvmlDeviceGetMaxClockInfo(Device *device, unsigned type, unsigned *out)
{
    ENTER(device, CARD_ONLY)
    if (type >= CLOCK_COUNT)
        return INVALID_ARGUMENT;
    if (type == CLOCK_MEM)
        return give_uint(device->number[N_max_memory_clock_mhz], out);
    return type <= CLOCK_SM ? give_uint(device->number[N_max_sm_clock_mhz], out) : NOT_SUPPORTED;
}

static Result change_lock(const Device *device, const char *function, unsigned low, unsigned high)
{
    double t;
    Result result = enter(device, function, CARD_ONLY, &t);
    if (result == SUCCESS && low > high)
        result = INVALID_ARGUMENT;
    if (result == SUCCESS)
        result = device->number[N_lock_permission] == 1 ? write_lock(device, low, high) : NO_PERMISSION;
    return result;
}

EXPORT Result nvmlDeviceSetGpuLockedClocks(Device *device, unsigned low, unsigned high)
{
    Result result = high ? change_lock(device, __func__, low, high) : INVALID_ARGUMENT;
    log_call(__func__, is_device(device) ? device : NULL, result, " %u %u", low, high);
    return result;
}

EXPORT Result nvmlDeviceResetGpuLockedClocks(Device *device)
{
    Result result = change_lock(device, __func__, 0, 0);
    log_call(__func__, is_device(device) ? device : NULL, result, "");
    return result;
}

/* The old and the new name of a function are two functions, so that a scenario can take one of them away. */
#define REASONS(function, value)                                                                                     \
    EXPORT Result function(Device *device, unsigned long long *out)                                                   \
    {                                                                                                                 \
        ENTER(device, CARD_ONLY)                                                                                      \
        return give_ulong_long(value, out);                                                                           \
    }

REASONS(nvmlDeviceGetCurrentClocksEventReasons, step_at(device, C_clock_reasons, t))
REASONS(nvmlDeviceGetCurrentClocksThrottleReasons, step_at(device, C_clock_reasons, t))
REASONS(nvmlDeviceGetSupportedClocksEventReasons, device->number[N_supported_clock_reasons])
REASONS(nvmlDeviceGetSupportedClocksThrottleReasons, device->number[N_supported_clock_reasons])
