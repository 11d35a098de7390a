/* Which cards and MIG devices there are, what they are called, and the processes on them. */
#define _GNU_SOURCE
#include "calls.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_INSTANCE 0xFFFFFFFFu
#define NOT_AVAILABLE UINT64_MAX

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_sub_system_id;
    char bus_id[32];
} PciInfo;
typedef struct {
    unsigned pid;
    unsigned long long used_gpu_memory;
    unsigned gpu_instance, compute_instance;
} ProcessInfo;

/* ---- finding cards ---- */

static bool read_pci(const char *text, unsigned part[4])
{
    return text && sscanf(text, "%x:%x:%x.%x", &part[0], &part[1], &part[2], &part[3]) == 4;
}

static Result give_handle(Device *device, const char *function, Device **out)
{
    double t;
    Result result = out ? enter(device, function, SLICE_TOO, &t) : INVALID_ARGUMENT;
    if (result == SUCCESS)
        *out = device;
    return result;
}

EXPORT Result nvmlDeviceGetCount_v2(unsigned *out)
{
    return users ? give_uint(machine.card_count, out) : UNINITIALIZED;
}

EXPORT Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out)
{
    if (!users)
        return UNINITIALIZED;
    return index < (unsigned)machine.card_count ? give_handle(&machine.card[index], __func__, out) : INVALID_ARGUMENT;
}

EXPORT Result nvmlDeviceGetHandleByUUID(const char *uuid, Device **out)
{
    if (!users)
        return UNINITIALIZED;
    for (int c = 0; uuid && c < machine.card_count; c++) {
        if (strcmp(machine.card[c].uuid, uuid) == 0)
            return give_handle(&machine.card[c], __func__, out);
        for (int s = 0; s < machine.card[c].slice_count; s++)
            if (strcmp(machine.slice[c][s].uuid, uuid) == 0)
                return give_handle(&machine.slice[c][s], __func__, out);
    }
    return uuid ? NOT_FOUND : INVALID_ARGUMENT;
}

EXPORT Result nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, Device **out)
{
    unsigned asked[4], own[4];
    if (!users)
        return UNINITIALIZED;
    if (!read_pci(bus_id, asked))
        return INVALID_ARGUMENT;
    for (int c = 0; c < machine.card_count; c++)
        if (read_pci(machine.card[c].pci_bus_id, own) && memcmp(own, asked, sizeof own) == 0)
            return give_handle(&machine.card[c], __func__, out);
    return NOT_FOUND;
}

/* ---- what a card is ---- */

UINT_OF(nvmlDeviceGetIndex, SLICE_TOO, device->index)
UINT_OF(nvmlDeviceGetMinorNumber, CARD_ONLY, device->index)
UINT_OF(nvmlDeviceGetArchitecture, CARD_ONLY, device->number[N_architecture])
UINT_OF(nvmlDeviceGetPersistenceMode, CARD_ONLY, device->number[N_persistence])
UINT_OF(nvmlDeviceGetComputeMode, CARD_ONLY, device->number[N_compute_mode])
UINT_OF(nvmlDeviceGetPowerManagementLimit, CARD_ONLY, 1000 * device->number[N_power_limit_w])
UINT_OF(nvmlDeviceGetPowerManagementDefaultLimit, CARD_ONLY, 1000 * device->number[N_default_power_limit_w])
UINT_OF(nvmlDeviceGetEnforcedPowerLimit, CARD_ONLY, 1000 * device->number[N_enforced_power_limit_w])

EXPORT Result nvmlDeviceGetName(Device *device, char *out, unsigned size)
{
    ENTER(device, SLICE_TOO)
    return give_text(device->name, out, size);
}

EXPORT Result nvmlDeviceGetUUID(Device *device, char *out, unsigned size)
{
    ENTER(device, SLICE_TOO)
    return give_text(device->uuid, out, size);
}

EXPORT Result nvmlDeviceGetSerial(Device *device, char *out, unsigned size)
{
    ENTER(device, CARD_ONLY)
    (void)out, (void)size;
    return NOT_SUPPORTED;
}

EXPORT Result nvmlDeviceGetPciInfo_v3(Device *device, PciInfo *out)
{
    ENTER(device, CARD_ONLY)
    unsigned part[4];
    if (!read_pci(device->pci_bus_id, part))
        return NOT_SUPPORTED;
    if (!out)
        return INVALID_ARGUMENT;
    memset(out, 0, sizeof *out);
    out->domain = part[0], out->bus = part[1], out->device = part[2];
    snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%04X:%02X:%02X.%X", part[0] & 0xFFFF, part[1] & 0xFF,
             part[2] & 0xFF, part[3] & 0xF);
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.%X", part[0], part[1], part[2], part[3]);
    return SUCCESS;
}

EXPORT Result nvmlDeviceGetEccMode(Device *device, unsigned *current, unsigned *pending)
{
    ENTER(device, CARD_ONLY)
    Result result = give_uint(device->number[N_ecc], current);
    return result == SUCCESS ? give_uint(device->number[N_ecc], pending) : result;
}

EXPORT Result nvmlDeviceGetPowerManagementLimitConstraints(Device *device, unsigned *low, unsigned *high)
{
    ENTER(device, CARD_ONLY)
    Result result = give_uint(1000 * device->number[N_min_power_limit_w], low);
    return result == SUCCESS ? give_uint(1000 * device->number[N_max_power_limit_w], high) : result;
}

/* ---- MIG ---- */

EXPORT Result nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending)
{
    ENTER(device, CARD_ONLY)
    Result result = give_uint(device->number[N_mig], current);
    return result == SUCCESS ? give_uint(device->number[N_mig], pending) : result;
}

UINT_OF(nvmlDeviceGetMaxMigDeviceCount, CARD_ONLY, device->number[N_mig] == 1 ? device->number[N_max_slices] : 0)
UINT_OF(nvmlDeviceIsMigDeviceHandle, SLICE_TOO, is_slice(device))
UINT_OF(nvmlDeviceGetGpuInstanceId, SLICE_TOO, device->number[N_gpu_instance])
UINT_OF(nvmlDeviceGetComputeInstanceId, SLICE_TOO, device->number[N_compute_instance])

EXPORT Result nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **out)
{
    ENTER(device, CARD_ONLY)
    if (device->number[N_mig] != 1)
        return NOT_SUPPORTED;
    if (!out || index >= device->number[N_max_slices])
        return INVALID_ARGUMENT;
    if (index >= (unsigned)device->slice_count)
        return NOT_FOUND;
    *out = &device->slice[index];
    return SUCCESS;
}

EXPORT Result nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *device, Device **out)
{
    ENTER(device, SLICE_TOO)
    if (!out || !is_slice(device))
        return INVALID_ARGUMENT;
    *out = device->card;
    return SUCCESS;
}

/* ---- processes ---- */

static bool present(const Process *process, double t, long *pid)
{
    const char *self = getenv("PEFTBENCH_SIM_SELF");
    *pid = process->pid;
    if (process->pid == PID_SELF)
        *pid = getpid();
    else if (process->pid == PID_ENV)
        *pid = self ? atol(self) : 0;
    return *pid > 0 && t >= process->from_s && t < process->to_s;
}

/* Adds a device's processes of one kind to those already found; writes no more than there is room for. */
static unsigned add_processes(
    const Device *device, ProcessKind kind, double t, ProcessInfo *out, unsigned room, unsigned found)
{
    for (int i = 0; i < device->process_count; i++) {
        const Process *process = &device->process[i];
        long pid;
        if (process->kind != kind || !present(process, t, &pid))
            continue;
        if (out && found < room) {
            unsigned gpu = NO_INSTANCE, compute = NO_INSTANCE;
            if (is_slice(device)) {
                gpu = (unsigned)device->number[N_gpu_instance];
                compute = (unsigned)device->number[N_compute_instance];
            }
            unsigned long long used = NOT_AVAILABLE;
            if (!isnan(process->used_mib))
                used = (unsigned long long)(process->used_mib * MIB);
            out[found] = (ProcessInfo){(unsigned)pid, used, gpu, compute};
        }
        found++;
    }
    return found;
}

static Result give_processes(const Device *device, ProcessKind kind, double t, unsigned *count, ProcessInfo *out)
{
    if (!count)
        return INVALID_ARGUMENT;
    unsigned room = *count, found = add_processes(device, kind, t, out, room, 0);
    for (int s = 0; s < device->slice_count; s++)
        found = add_processes(&device->slice[s], kind, t, out, room, found);
    *count = found;
    return found == 0 || (out && found <= room) ? SUCCESS : INSUFFICIENT_SIZE;
}

#define PROCESSES(function, kind)                                                                                    \
    EXPORT Result function(Device *device, unsigned *count, ProcessInfo *out)                                         \
    {                                                                                                                 \
        ENTER(device, SLICE_TOO)                                                                                      \
        return give_processes(device, kind, t, count, out);                                                           \
    }

PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS)
