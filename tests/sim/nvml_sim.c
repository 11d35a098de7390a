/* Entering and leaving NVML: what the functions of cards.c and readings.c share, and those on the library itself.
 *
 * Structures and ids are those of nvidia-ml-py 13.615; a function that is not here is FunctionNotFound to pynvml, as
 * with an older driver.
 */
#define _GNU_SOURCE
#include "calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int users;

static size_t without_version(const char *name)
{
    size_t length = strlen(name);
    return length > 3 && name[length - 3] == '_' && name[length - 2] == 'v' ? length - 3 : length;
}

static Result fault_in_call(const Device *device, const char *function, double t)
{
    size_t length = without_version(function);
    for (int i = 0; i < device->fault_count; i++) {
        const Fault *fault = &device->fault[i];
        if (t >= fault->from_s && t < fault->to_s && without_version(fault->name) == length
            && strncmp(fault->name, function, length) == 0)
            return (Result)fault->result;
    }
    return SUCCESS;
}

bool is_device(const Device *device)
{
    for (int c = 0; c < machine.card_count; c++) {
        if (device == &machine.card[c])
            return true;
        for (int s = 0; s < machine.card[c].slice_count; s++)
            if (device == &machine.slice[c][s])
                return true;
    }
    return false;
}

bool is_slice(const Device *device)
{
    return device->card != device;
}

Result enter(const Device *device, const char *function, Scope scope, double *t)
{
    if (!users)
        return UNINITIALIZED;
    if (!is_device(device))
        return INVALID_ARGUMENT;
    hear_later(device->card);
    double slow_s = device->card->number[N_slow_ms] / 1000;
    if (slow_s > 0) {
        struct timespec rest = {(time_t)slow_s, (long)((slow_s - floor(slow_s)) * 1e9)};
        nanosleep(&rest, NULL);
    }
    *t = now_s();
    if (*t >= device->card->number[N_lost_at_s])
        return GPU_IS_LOST;
    Result fault = fault_in_call(device, function, *t);
    if (fault != SUCCESS)
        return fault;
    return is_slice(device) && scope == CARD_ONLY ? NOT_SUPPORTED : SUCCESS;
}

Result give_uint(double value, unsigned *out)
{
    if (isnan(value))
        return NOT_SUPPORTED;
    if (!out)
        return INVALID_ARGUMENT;
    *out = (unsigned)floor(value + 0.5);
    return SUCCESS;
}

Result give_ulong_long(double value, unsigned long long *out)
{
    if (isnan(value))
        return NOT_SUPPORTED;
    if (!out)
        return INVALID_ARGUMENT;
    *out = (unsigned long long)floor(value + 0.5);
    return SUCCESS;
}

Result give_text(const char *text, char *out, unsigned size)
{
    if (!out)
        return INVALID_ARGUMENT;
    if (strlen(text) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

void log_call(const char *function, const Device *device, Result result, const char *format, ...)
{
    char path[MAX_FILE + 8], line[256], card[16] = "-", arguments[64];
    va_list rest;
    va_start(rest, format);
    vsnprintf(arguments, sizeof arguments, format, rest);
    va_end(rest);
    if (!*machine.path)
        return;
    if (device)
        snprintf(card, sizeof card, "%u", device->card->index);
    snprintf(path, sizeof path, "%s.calls", machine.path);
    int size = snprintf(
        line, sizeof line, "%ld %.6f %s %s %d%s\n", (long)getpid(), now_s(), function, card, result, arguments);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (file < 0 || write(file, line, (size_t)size) != size)
        perror("simulated NVML: log of calls");
    if (file >= 0)
        close(file);
}

bool is_function_or_field(const char *name)
{
    static const char *const endings[] = {"", "_v2", "_v3"};
    char symbol[MAX_NAME + 4];
    Dl_info own;
    if (field_named(name) > 0)
        return true;
    void *library = dladdr(&users, &own) ? dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD) : NULL;
    bool found = false;
    for (int i = 0; library && i < 3 && !found; i++) {
        snprintf(symbol, sizeof symbol, "%s%s", name, endings[i]);
        found = strncmp(name, "nvmlDevice", 10) == 0 && dlsym(library, symbol) != NULL;
    }
    if (library)
        dlclose(library);
    return found;
}

/* ---- the library ---- */

static Result init(const char *function)
{
    pthread_mutex_lock(&lock);
    Result result = users || load_machine() ? SUCCESS : UNKNOWN;
    if (result == SUCCESS && machine.init_error)
        result = (Result)machine.init_error;
    users += result == SUCCESS;
    log_call(function, NULL, result, "");
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT Result nvmlInit_v2(void)
{
    return init(__func__);
}

EXPORT Result nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return init(__func__);
}

EXPORT Result nvmlShutdown(void)
{
    pthread_mutex_lock(&lock);
    Result result = users ? SUCCESS : UNINITIALIZED;
    users -= users > 0;
    log_call(__func__, NULL, result, "");
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT const char *nvmlErrorString(unsigned result)
{
    static const char *const texts[] = {
        "Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions",
        "Already Initialized", "Not Found", "Insufficient Size", "Insufficient External Power", "Driver Not Loaded",
        "Timeout", "Interrupt Request Issue", "NVML Shared Library Not Found", "Function Not Found",
        "Corrupted infoROM", "GPU is lost", "GPU requires restart", "The operating system has blocked the request.",
        "Driver/library version mismatch",
    };
    return result < sizeof texts / sizeof *texts ? texts[result] : "Unknown Error";
}

EXPORT Result nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    return users ? give_text(machine.driver_version, out, size) : UNINITIALIZED;
}

EXPORT Result nvmlSystemGetNVMLVersion(char *out, unsigned size)
{
    return users ? give_text(machine.nvml_version, out, size) : UNINITIALIZED;
}

EXPORT Result nvmlSystemGetCudaDriverVersion(int *out)
{
    if (users && out)
        *out = machine.cuda_version;
    return !users ? UNINITIALIZED : out ? SUCCESS : INVALID_ARGUMENT;
}

EXPORT Result nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    return nvmlSystemGetCudaDriverVersion(out);
}
