/* The scripted machine, as scenario.c reads it and the other files show it. */
#ifndef NVML_SIM_H
#define NVML_SIM_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_CARDS = 16, MAX_SLICES = 8, MAX_PROCESSES = 64, MAX_FAULTS = 64, MAX_NAME = 96, MAX_FILE = 4096 };

/* Return codes as in NVML; NVML_ERROR_<name>. */
typedef enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999
} Result;

/* A key of the scenario file and its place in a device, by one name. NAN or no points: the card does not have it. */
#define NUMBER_KEYS(X)                                                                                               \
    X(architecture) X(averaged_power) X(power_period_s) X(power_tick_s) X(energy_tick_s) X(energy_start_mj)           \
    X(energy_wrap_mj) X(energy_reset_at_s) X(power_limit_w) X(default_power_limit_w) X(enforced_power_limit_w)        \
    X(min_power_limit_w) X(max_power_limit_w) X(memory_total_mib) X(memory_reserved_mib) X(max_sm_clock_mhz)          \
    X(max_memory_clock_mhz) X(lock_permission) X(clock_holds_mhz) X(supported_clock_reasons) X(persistence)           \
    X(compute_mode) X(ecc) X(mig) X(max_slices) X(lost_at_s) X(slow_ms) X(gpu_instance) X(compute_instance)
#define CURVE_KEYS(X)                                                                                                \
    X(power_w) X(memory_used_mib) X(temperature_c) X(memory_temperature_c) X(utilization_percent)                     \
    X(memory_utilization_percent) X(power_violation_ns) X(thermal_violation_ns) X(sw_thermal_ns) X(hw_thermal_ns)     \
    X(power_brake_ns) X(sm_clock_mhz) X(memory_clock_mhz) X(clock_reasons)

#define NUMBER_PLACE(name) N_##name,
#define CURVE_PLACE(name) C_##name,
typedef enum { NUMBER_KEYS(NUMBER_PLACE) NUMBER_COUNT } NumberKey;
typedef enum { CURVE_KEYS(CURVE_PLACE) CURVE_COUNT } CurveKey;

typedef struct {
    int count;
    double *time, *value;
} Curve;

typedef enum { COMPUTE, GRAPHICS, MPS } ProcessKind;
enum { PID_SELF = 0, PID_ENV = -1 };

typedef struct {
    ProcessKind kind;
    long pid;        /* or PID_SELF, PID_ENV */
    double used_mib; /* NAN: not known */
    double from_s, to_s;
} Process;

typedef struct {
    char name[MAX_NAME]; /* of a function or a field */
    int result;
    double from_s, to_s;
} Fault;

/* A card, or a slice (MIG device) of one. */
typedef struct Device {
    struct Device *card; /* itself, or a slice's card */
    unsigned index;
    char uuid[MAX_NAME], name[MAX_NAME], pci_bus_id[MAX_NAME];
    double number[NUMBER_COUNT];
    Curve curve[CURVE_COUNT];
    int process_count, fault_count, slice_count;
    Process process[MAX_PROCESSES];
    Fault fault[MAX_FAULTS];
    struct Device *slice; /* of a card: slice_count of them */
} Device;

typedef struct {
    char path[MAX_FILE]; /* of the scenario file; its neighbours are <path>.state, .calls and .later */
    double epoch, still_at_s;
    char driver_version[MAX_NAME], nvml_version[MAX_NAME];
    int cuda_version, init_error;
    int card_count;
    Device card[MAX_CARDS];
    Device slice[MAX_CARDS][MAX_SLICES];
} Machine;

extern Machine machine;

/* Reads the file named by PEFTBENCH_SIM_SCENARIO into `machine`; false after saying on stderr what is wrong. */
bool load_machine(void);

/* Takes what `<path>.later` tells of a card while it plays: lines `lost_at_s <t>` or `energy_reset_at_s <t>` after the
 * card's number. Without the file nothing changes. */
void hear_later(Device *card);

/* The code of an error's name without NVML_ERROR_, -1 if there is none. */
int result_named(const char *name);

/* Whether an `error` line may name this: an exported function (with or without _v2, _v3) or a field (nvml_sim.c). */
bool is_function_or_field(const char *name);

double now_s(void);
double linear_at(const Device *device, CurveKey key, double t);
double step_at(const Device *device, CurveKey key, double t);
double power_at(const Device *device, double t);
double energy_to(const Device *device, double t); /* J since t = 0 */

#endif
