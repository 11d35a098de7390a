/* What a card's sensors and counters show: power, energy, heat, load, memory; by functions and by field values. */
#define _GNU_SOURCE
#include "calls.h"

#include <math.h>
#include <string.h>

enum { POLICY_POWER, POLICY_THERMAL, POLICY_COUNT = 12 };
enum { TYPE_UINT = 1, TYPE_ULONG_LONG = 3 };
enum { MEMORY_V2 = 0x02000028, TEMPERATURE_V1 = 0x0100000C, FIELD_END = 308 };

typedef struct {
    unsigned long long total, free, used;
} Memory;
typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} MemoryV2;
typedef struct {
    unsigned gpu, memory;
} Utilization;
typedef struct {
    unsigned version, sensor;
    int temperature;
} Temperature;
typedef struct {
    unsigned long long reference_time, violation_time;
} ViolationTime;
typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency_us;
    unsigned type, result;
    union {
        double real;
        unsigned uint;
        unsigned long long ulong_long;
    } value;
} FieldValue;

/* ---- power and energy ---- */

static double tick(double t, double every_s)
{
    return floor(t / every_s) * every_s;
}

static double instant_mw(const Device *device, double t)
{
    return 1000 * power_at(device, tick(t, device->number[N_power_tick_s]));
}

static double average_mw(const Device *device, double t)
{
    double last = tick(t, device->number[N_power_tick_s]);
    return 1000 * (energy_to(device, last) - energy_to(device, last - 1));
}

static bool averages(const Device *device)
{
    return device->number[N_averaged_power] == 1;
}

static double counter_mj(const Device *device, double t)
{
    double last = tick(t, device->number[N_energy_tick_s]);
    double reset = device->number[N_energy_reset_at_s], wrap = device->number[N_energy_wrap_mj];
    double start = device->number[N_energy_start_mj], shown;
    if (isnan(start))
        return NAN;
    if (t >= reset)
        shown = floor(1000 * (energy_to(device, fmax(last, reset)) - energy_to(device, reset)) + 0.5);
    else
        shown = start + floor(1000 * energy_to(device, last) + 0.5);
    return isnan(wrap) ? shown : fmod(shown, wrap);
}

UINT_OF(nvmlDeviceGetPowerUsage, CARD_ONLY, averages(device) ? average_mw(device, t) : instant_mw(device, t))

EXPORT Result nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *out)
{
    ENTER(device, CARD_ONLY)
    return give_ulong_long(counter_mj(device, t), out);
}

/* ---- load, heat, memory ---- */

static long long unix_us(double t)
{
    return (long long)((machine.epoch + t) * 1e6);
}

EXPORT Result nvmlDeviceGetViolationStatus(Device *device, unsigned policy, ViolationTime *out)
{
    ENTER(device, CARD_ONLY)
    if (policy >= POLICY_COUNT || !out)
        return INVALID_ARGUMENT;
    if (policy > POLICY_THERMAL)
        return NOT_SUPPORTED;
    out->reference_time = (unsigned long long)unix_us(t);
    CurveKey key = policy == POLICY_POWER ? C_power_violation_ns : C_thermal_violation_ns;
    return give_ulong_long(linear_at(device, key, t), &out->violation_time);
}

EXPORT Result nvmlDeviceGetTemperature(Device *device, unsigned sensor, unsigned *out)
{
    ENTER(device, CARD_ONLY)
    return sensor ? INVALID_ARGUMENT : give_uint(linear_at(device, C_temperature_c, t), out);
}

EXPORT Result nvmlDeviceGetTemperatureV(Device *device, Temperature *out)
{
    ENTER(device, CARD_ONLY)
    unsigned degrees = 0;
    if (!out || out->sensor)
        return INVALID_ARGUMENT;
    if (out->version != TEMPERATURE_V1)
        return ARGUMENT_VERSION_MISMATCH;
    Result result = give_uint(linear_at(device, C_temperature_c, t), &degrees);
    out->temperature = (int)degrees;
    return result;
}

EXPORT Result nvmlDeviceGetUtilizationRates(Device *device, Utilization *out)
{
    ENTER(device, CARD_ONLY)
    if (!out)
        return INVALID_ARGUMENT;
    if (device->number[N_mig] == 1) /* as NVML says of a card in MIG mode */
        return NOT_SUPPORTED;
    Result result = give_uint(linear_at(device, C_utilization_percent, t), &out->gpu);
    return result == SUCCESS ? give_uint(linear_at(device, C_memory_utilization_percent, t), &out->memory) : result;
}

static Result read_memory(const Device *device, double t, MemoryV2 *memory)
{
    double total = device->number[N_memory_total_mib], reserved = device->number[N_memory_reserved_mib];
    double used = linear_at(device, C_memory_used_mib, t);
    if (isnan(total) || isnan(used) || isnan(reserved))
        return NOT_SUPPORTED;
    memory->total = (unsigned long long)(total * MIB);
    memory->reserved = (unsigned long long)(reserved * MIB);
    memory->used = (unsigned long long)(used * MIB);
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

EXPORT Result nvmlDeviceGetMemoryInfo(Device *device, Memory *out)
{
    ENTER(device, SLICE_TOO)
    MemoryV2 memory;
    Result result = out ? read_memory(device, t, &memory) : INVALID_ARGUMENT;
    if (result == SUCCESS)
        *out = (Memory){memory.total, memory.free, memory.used + memory.reserved};
    return result;
}

EXPORT Result nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *out)
{
    ENTER(device, SLICE_TOO)
    if (!out)
        return INVALID_ARGUMENT;
    return out->version == MEMORY_V2 ? read_memory(device, t, out) : ARGUMENT_VERSION_MISMATCH;
}

/* ---- fields ---- */

/* A field: its id, whether it is 64 bits wide, whether it belongs to a power scope, and its value. */
#define FIELDS(X)                                                                                                    \
    X(NVML_FI_DEV_PERF_POLICY_POWER, 74, true, false, linear_at(device, C_power_violation_ns, t))                     \
    X(NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP, 74, true, false, linear_at(device, C_power_violation_ns, t))     \
    X(NVML_FI_DEV_PERF_POLICY_THERMAL, 75, true, false, linear_at(device, C_thermal_violation_ns, t))                 \
    X(NVML_FI_DEV_MEMORY_TEMP, 82, false, false, linear_at(device, C_memory_temperature_c, t))                        \
    X(NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 83, true, false, counter_mj(device, t))                                   \
    X(NVML_FI_DEV_POWER_AVERAGE, 185, false, true, averages(device) ? average_mw(device, t) : NAN)                    \
    X(NVML_FI_DEV_POWER_INSTANT, 186, false, true, instant_mw(device, t))                                             \
    X(NVML_FI_DEV_POWER_MIN_LIMIT, 187, false, true, 1000 * device->number[N_min_power_limit_w])                      \
    X(NVML_FI_DEV_POWER_MAX_LIMIT, 188, false, true, 1000 * device->number[N_max_power_limit_w])                      \
    X(NVML_FI_DEV_POWER_DEFAULT_LIMIT, 189, false, true, 1000 * device->number[N_default_power_limit_w])              \
    X(NVML_FI_DEV_POWER_CURRENT_LIMIT, 190, false, true, 1000 * device->number[N_enforced_power_limit_w])             \
    X(NVML_FI_DEV_POWER_REQUESTED_LIMIT, 192, false, true, 1000 * device->number[N_power_limit_w])                    \
    X(NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, 269, true, false, linear_at(device, C_sw_thermal_ns, t))     \
    X(NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, 270, true, false, linear_at(device, C_hw_thermal_ns, t))     \
    X(NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, 271, true, false,                                      \
      linear_at(device, C_power_brake_ns, t))

int field_named(const char *name)
{
#define IF_NAMED(field, id, wide, scoped, value)                                                                     \
    if (strcmp(name, #field) == 0)                                                                                    \
        return id;
    FIELDS(IF_NAMED)
    return -1;
}

static Result fault_in_field(const Device *device, uint32_t id, double t)
{
    for (int i = 0; i < device->fault_count; i++) {
        const Fault *fault = &device->fault[i];
        if (t >= fault->from_s && t < fault->to_s && field_named(fault->name) == (int)id)
            return (Result)fault->result;
    }
    return SUCCESS;
}

static Result give_field(const Device *device, double t, FieldValue *field, bool wide, bool scoped, double value)
{
    field->type = wide ? TYPE_ULONG_LONG : TYPE_UINT;
    if (scoped && field->scope != 0)
        return NOT_SUPPORTED;
    Result fault = fault_in_field(device, field->field, t);
    if (fault != SUCCESS)
        return fault;
    return wide ? give_ulong_long(value, &field->value.ulong_long) : give_uint(value, &field->value.uint);
}

static Result read_field(const Device *device, double t, FieldValue *field)
{
    if (is_slice(device))
        return NOT_SUPPORTED;
#define IF_ASKED(name, id, wide, scoped, value)                                                                      \
    if (field->field == id)                                                                                           \
        return give_field(device, t, field, wide, scoped, value);
    FIELDS(IF_ASKED)
    return field->field > 0 && field->field < FIELD_END ? NOT_SUPPORTED : INVALID_ARGUMENT;
}

EXPORT Result nvmlDeviceGetFieldValues(Device *device, int count, FieldValue *fields)
{
    ENTER(device, SLICE_TOO)
    if (count < 1 || !fields)
        return INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        fields[i].timestamp = unix_us(t);
        fields[i].latency_us = 0;
        fields[i].value.ulong_long = 0;
        fields[i].result = read_field(device, t, &fields[i]);
    }
    return SUCCESS;
}
