/* Reads a scenario file, written by scenario.py, and computes its curves.
 *
 * Lines `key value...`: first the machine's keys, then each card after a line `card <index>`, each of its MIG devices
 * after a line `slice`. A curve is `t:value t:value ...`. An unknown key refuses the whole file, so that a slip in a
 * test cannot pass for a card's answer.
 */
#define _GNU_SOURCE
#include "nvml_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

Machine machine;

#define AS_TEXT(name) #name,
static const char *const number_keys[] = {NUMBER_KEYS(AS_TEXT)};
static const char *const curve_keys[] = {CURVE_KEYS(AS_TEXT)};

static const struct {
    int result;
    const char *name;
} results[] = {
    {1, "UNINITIALIZED"},         {2, "INVALID_ARGUMENT"},          {3, "NOT_SUPPORTED"},
    {4, "NO_PERMISSION"},         {6, "NOT_FOUND"},                 {7, "INSUFFICIENT_SIZE"},
    {8, "INSUFFICIENT_POWER"},    {9, "DRIVER_NOT_LOADED"},         {10, "TIMEOUT"},
    {11, "IRQ_ISSUE"},            {12, "LIBRARY_NOT_FOUND"},        {13, "FUNCTION_NOT_FOUND"},
    {14, "CORRUPTED_INFOROM"},    {15, "GPU_IS_LOST"},              {16, "RESET_REQUIRED"},
    {17, "OPERATING_SYSTEM"},     {18, "LIB_RM_VERSION_MISMATCH"},  {19, "IN_USE"},
    {20, "MEMORY"},               {21, "NO_DATA"},                  {23, "INSUFFICIENT_RESOURCES"},
    {24, "FREQ_NOT_SUPPORTED"},   {25, "ARGUMENT_VERSION_MISMATCH"}, {26, "DEPRECATED"},
    {27, "NOT_READY"},            {28, "GPU_NOT_FOUND"},            {29, "INVALID_STATE"},
    {999, "UNKNOWN"},
};

int result_named(const char *name)
{
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (strcmp(results[i].name, name) == 0)
            return results[i].result;
    return -1;
}

static int place(const char *const *keys, int count, const char *key)
{
    for (int i = 0; i < count; i++)
        if (strcmp(keys[i], key) == 0)
            return i;
    return -1;
}

static bool read_number(const char *text, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return end != text && *end == '\0' && !isnan(*number);
}

static bool read_name(const char *text, char *name)
{
    return *text && strlen(text) < MAX_NAME && strcpy(name, text);
}

static bool read_curve(char *text, Curve *curve)
{
    int most = 1;
    for (const char *at = text; *at; at++)
        most += *at == ' ';
    free(curve->time);
    curve->time = malloc(2 * sizeof(double) * (size_t)most);
    if (!curve->time)
        return false;
    curve->value = curve->time + most;
    curve->count = 0;
    for (char *rest, *point = strtok_r(text, " ", &rest); point; point = strtok_r(NULL, " ", &rest)) {
        char *colon = strchr(point, ':');
        int n = curve->count;
        if (!colon)
            return false;
        *colon = '\0';
        if (!read_number(point, &curve->time[n]) || !read_number(colon + 1, &curve->value[n]))
            return false;
        if (n && curve->time[n - 1] > curve->time[n])
            return false;
        curve->count++;
    }
    return curve->count > 0;
}

static bool read_process(char *text, Device *device)
{
    char kind[16], pid[24], used[32], more[2];
    double from_s, to_s;
    if (device->process_count == MAX_PROCESSES
        || sscanf(text, "%15s %23s %31s %lf %lf %1s", kind, pid, used, &from_s, &to_s, more) != 5)
        return false;
    const char *const kinds[] = {"compute", "graphics", "mps"};
    int found = place(kinds, 3, kind);
    double number = strcmp(pid, "self") == 0 ? PID_SELF : PID_ENV, used_mib = NAN;
    bool named = strcmp(pid, "self") == 0 || strcmp(pid, "env") == 0;
    if (found < 0 || (!named && (!read_number(pid, &number) || number < 1)))
        return false;
    if (strcmp(used, "unknown") != 0 && !read_number(used, &used_mib))
        return false;
    device->process[device->process_count++] = (Process){(ProcessKind)found, (long)number, used_mib, from_s, to_s};
    return true;
}

static bool read_fault(char *text, Device *device)
{
    char name[MAX_NAME], error[48], more[2];
    double from_s, to_s;
    if (device->fault_count == MAX_FAULTS
        || sscanf(text, "%95s %47s %lf %lf %1s", name, error, &from_s, &to_s, more) != 4)
        return false;
    Fault *fault = &device->fault[device->fault_count++];
    strcpy(fault->name, name);
    fault->result = result_named(error);
    fault->from_s = from_s;
    fault->to_s = to_s;
    return fault->result > 0 && is_function_or_field(name);
}

static Device *begin(Device *device, Device *card, int index)
{
    device->card = card;
    device->index = (unsigned)index;
    for (int i = 0; i < NUMBER_COUNT; i++)
        device->number[i] = NAN;
    return device;
}

static Device *begin_card(const char *text)
{
    double index;
    if (!read_number(text, &index) || index != machine.card_count || machine.card_count == MAX_CARDS)
        return NULL;
    Device *card = &machine.card[machine.card_count];
    card->slice = machine.slice[machine.card_count++];
    return begin(card, card, (int)index);
}

static Device *begin_slice(Device *device)
{
    if (!device || device->card->slice_count == MAX_SLICES)
        return NULL;
    int index = device->card->slice_count++;
    return begin(&device->card->slice[index], device->card, index);
}

static bool read_device_line(Device *device, const char *key, char *text)
{
    int at;
    if (strcmp(key, "uuid") == 0)
        return read_name(text, device->uuid);
    if (strcmp(key, "name") == 0)
        return read_name(text, device->name);
    if (strcmp(key, "pci_bus_id") == 0)
        return read_name(text, device->pci_bus_id);
    if (strcmp(key, "process") == 0)
        return read_process(text, device);
    if (strcmp(key, "error") == 0)
        return read_fault(text, device);
    if ((at = place(curve_keys, CURVE_COUNT, key)) >= 0)
        return read_curve(text, &device->curve[at]);
    if ((at = place(number_keys, NUMBER_COUNT, key)) < 0 || !read_number(text, &device->number[at]))
        return false;
    bool divides = at == N_power_tick_s || at == N_energy_tick_s || at == N_power_period_s || at == N_energy_wrap_mj;
    return !divides || device->number[at] > 0;
}

static bool read_machine_line(const char *key, const char *text)
{
    double number;
    if (strcmp(key, "epoch") == 0)
        return read_number(text, &machine.epoch);
    if (strcmp(key, "still_at_s") == 0)
        return read_number(text, &machine.still_at_s);
    if (strcmp(key, "driver_version") == 0)
        return read_name(text, machine.driver_version);
    if (strcmp(key, "nvml_version") == 0)
        return read_name(text, machine.nvml_version);
    if (strcmp(key, "init_error") == 0)
        return (machine.init_error = result_named(text)) > 0;
    if (strcmp(key, "cuda_version") != 0 || !read_number(text, &number))
        return false;
    machine.cuda_version = (int)number;
    return true;
}

static bool read_line(char *line, Device **device)
{
    char *text = strchr(line, ' ');
    if (text)
        *text++ = '\0';
    else
        text = line + strlen(line);
    if (strcmp(line, "card") == 0)
        return (*device = begin_card(text)) != NULL;
    if (strcmp(line, "slice") == 0)
        return (*device = begin_slice(*device)) != NULL;
    return *device ? read_device_line(*device, line, text) : read_machine_line(line, text);
}

static void forget_machine(void)
{
    for (int c = 0; c < machine.card_count; c++)
        for (int i = 0; i < CURVE_COUNT; i++) {
            free(machine.card[c].curve[i].time);
            for (int s = 0; s < machine.card[c].slice_count; s++)
                free(machine.slice[c][s].curve[i].time);
        }
    memset(&machine, 0, sizeof machine);
    machine.epoch = machine.still_at_s = NAN;
}

bool load_machine(void)
{
    const char *path = getenv("PEFTBENCH_SIM_SCENARIO");
    forget_machine();
    FILE *file = path && strlen(path) < MAX_FILE - 8 ? fopen(path, "r") : NULL;
    if (!file) {
        fprintf(stderr, "simulated NVML: PEFTBENCH_SIM_SCENARIO names no readable file: %s\n", path ? path : "(unset)");
        return false;
    }
    strcpy(machine.path, path);
    Device *device = NULL;
    char *line = NULL, *shown;
    size_t size = 0;
    bool good = true;
    for (int number = 1; good && getline(&line, &size, file) > 0; number++) {
        line[strcspn(line, "\n")] = '\0';
        shown = strdup(line);
        good = shown && read_line(line, &device);
        if (!good)
            fprintf(stderr, "simulated NVML: %s:%d is not understood: %s\n", path, number, shown ? shown : "");
        free(shown);
    }
    free(line);
    fclose(file);
    if (good && isnan(machine.epoch))
        fprintf(stderr, "simulated NVML: %s has no epoch\n", path);
    return good && !isnan(machine.epoch);
}

void hear_later(Device *card)
{
    char path[MAX_FILE + 8], key[MAX_NAME];
    unsigned index;
    double t;
    snprintf(path, sizeof path, "%s.later", machine.path);
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    while (fscanf(file, "%u %95s %lf", &index, key, &t) == 3) {
        int at = place(number_keys, NUMBER_COUNT, key);
        if (index == card->index && (at == N_lost_at_s || at == N_energy_reset_at_s))
            card->number[at] = t;
    }
    fclose(file);
}

double now_s(void)
{
    if (!isnan(machine.still_at_s))
        return fmax(machine.still_at_s, 0);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return fmax((double)now.tv_sec - machine.epoch + (double)now.tv_nsec / 1e9, 0);
}

/* The last point at or before t, -1 where there is none. */
static int last_before(const Curve *curve, double t)
{
    int last = -1;
    while (last + 1 < curve->count && curve->time[last + 1] <= t)
        last++;
    return last;
}

static double between(const Curve *curve, double t)
{
    int last = last_before(curve, t);
    if (curve->count == 0)
        return NAN;
    if (last < 0 || last + 1 == curve->count)
        return curve->value[last < 0 ? 0 : last];
    double t0 = curve->time[last], t1 = curve->time[last + 1], v0 = curve->value[last], v1 = curve->value[last + 1];
    return v0 + (v1 - v0) * (t - t0) / (t1 - t0);
}

double linear_at(const Device *device, CurveKey key, double t)
{
    return between(&device->curve[key], t);
}

double step_at(const Device *device, CurveKey key, double t)
{
    const Curve *curve = &device->curve[key];
    int last = last_before(curve, t);
    return curve->count ? curve->value[last < 0 ? 0 : last] : NAN;
}

/* The integral from the curve's first point to t, negative before it. */
static double integral_to(const Curve *curve, double t)
{
    if (curve->count == 0)
        return NAN;
    if (t <= curve->time[0])
        return curve->value[0] * (t - curve->time[0]);
    double total = 0;
    for (int i = 0; i + 1 < curve->count; i++) {
        double t0 = curve->time[i], t1 = curve->time[i + 1];
        if (t < t1)
            return total + (curve->value[i] + between(curve, t)) / 2 * (t - t0);
        total += (curve->value[i] + curve->value[i + 1]) / 2 * (t1 - t0);
    }
    return total + curve->value[curve->count - 1] * (t - curve->time[curve->count - 1]);
}

double power_at(const Device *device, double t)
{
    double period = device->number[N_power_period_s];
    t = fmax(t, 0);
    return between(&device->curve[C_power_w], isnan(period) ? t : t - floor(t / period) * period);
}

double energy_to(const Device *device, double t)
{
    const Curve *curve = &device->curve[C_power_w];
    double period = device->number[N_power_period_s], start = integral_to(curve, 0);
    if (t < 0)
        return between(curve, 0) * t;
    if (isnan(period))
        return integral_to(curve, t) - start;
    double whole = floor(t / period), one = integral_to(curve, period) - start;
    return whole * one + integral_to(curve, t - whole * period) - start;
}
