/* What every call shares: entering it, giving its answer, logging it. */
#ifndef CALLS_H
#define CALLS_H

#include "nvml_sim.h"

#define EXPORT __attribute__((visibility("default")))
#define MIB 1048576.0

extern int users; /* nvmlInit calls less nvmlShutdown calls; 0: uninitialised */

bool is_device(const Device *device);
bool is_slice(const Device *device);

typedef enum { CARD_ONLY, SLICE_TOO } Scope;

/* Waits as a slow card does, then gives the time of the answer and the error that the call has at that time. */
Result enter(const Device *device, const char *function, Scope scope, double *t);

/* Gives the calling function `t`, the time of its answer, or returns the error that it has at this time. */
#define ENTER(device, scope)                                                                                         \
    double t = 0;                                                                                                     \
    Result refused = enter(device, __func__, scope, &t);                                                              \
    if (refused != SUCCESS)                                                                                           \
        return refused;

/* Rounds to the nearest whole number; NAN is NOT_SUPPORTED. */
Result give_uint(double value, unsigned *out);
Result give_ulong_long(double value, unsigned long long *out);
Result give_text(const char *text, char *out, unsigned size);

/* A function that gives one number of a card; `value` may use `device` and `t`. */
#define UINT_OF(function, scope, value)                                                                              \
    EXPORT Result function(Device *device, unsigned *out)                                                             \
    {                                                                                                                 \
        ENTER(device, scope)                                                                                          \
        return give_uint(value, out);                                                                                 \
    }

/* Appends `pid t function card result arguments...` to the log of calls, in one write. */
void log_call(const char *function, const Device *device, Result result, const char *format, ...);

/* The id of a field by its name in pynvml, -1 where the library does not have it. */
int field_named(const char *name);

#endif
