// preload/options.c - see options.h.
#include "options.h"

#include <signal.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "../pool/trap.h"
#include "glibc.h"
#include "kernel.h"
#include "output.h"
#include "text.h"

#define VARIABLE "TARN_OPTIONS"
#define WASTE_PERCENT_MAX 1000
#define LIMIT_BYTES_MIN ((size_t)1 << 20) // the budget's floor
#define LIMIT_BYTES_MAX ((size_t)1 << 62)
#define SAMPLE_BYTES_MAX ((size_t)1 << 30)
#define HARDEN_MOST 3
#define TRAPS_MAX 1000000000u
#define RECORD_BYTES_MIN ((size_t)1 << 20)
#define RECORD_BYTES_MAX ((size_t)16 << 30)

// One unwinding, 3 us at depth 25, for what a program allocates in a good deal more than 100 us.
#define SAMPLE_BYTES ((size_t)512 << 10)
#define RECORD_BYTES ((size_t)64 << 20)

options_t options;

// Points into the environment, which the program may change later: nothing keeps it.
typedef struct word {
    const char *text;
    size_t length;
} word_t;

// One option. set() takes the value over and returns NULL, or says what is accepted. NULL: not in this version.
typedef struct option {
    const char *key;
    const char *(*set)(word_t value);
} option_t;

// A word as it is shown: its start, on one line.
typedef struct shown {
    char text[100];
} shown_t;

static shown_t word_show(word_t word)
{
    shown_t shown = {0};
    for (size_t i = 0; i < word.length && i < sizeof shown.text - 1; i++)
        shown.text[i] = (unsigned char)word.text[i] < ' ' || word.text[i] == 0x7f ? '?' : word.text[i];
    return shown;
}

static bool word_is(word_t word, const char *text)
{
    for (size_t i = 0; i < word.length; i++)
        if (text[i] != word.text[i] || text[i] == '\0')
            return false;
    return text[word.length] == '\0';
}

// --- the values ------------------------------------------------------------------------------------------------------

static const char *set_stats(word_t value)
{
    static const char *const names[] = {[STATS_TEXT] = "text", [STATS_JSON] = "json", [STATS_OFF] = "off"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (word_is(value, names[i])) {
            options.stats = (stats_format_t)i;
            return NULL;
        }
    return "text, json or off";
}

// %p, %n and %% are all that may follow a %.
static bool file_pattern_is_good(word_t value)
{
    for (size_t i = 0; i < value.length; i++)
        if (value.text[i] == '%' && (++i == value.length || *text_find("pn%", value.text[i]) == '\0'))
            return false;
    return value.length > 0;
}

// False if the current directory has no name (any more). Its name is no pattern: each % becomes %%.
static bool current_directory_write(writer_t *writer)
{
    char directory[PATH_MAX];
    if (kernel_getcwd(directory, sizeof directory) < 0 || directory[0] != '/')
        return false;
    for (const char *letter = directory; *letter != '\0'; letter++)
        writer_bytes(writer, *letter == '%' ? "%%" : letter, *letter == '%' ? 2 : 1);
    writer_text(writer, "/");
    return true;
}

// The program may change its directory before the report: a relative path counts from where it started.
static RARE const char *set_path(const char **option, char kept[PATH_MAX], word_t value)
{
    char path[PATH_MAX];
    writer_t writer = WRITER(path);
    if (!file_pattern_is_good(value))
        return "a path, in which %p is the pid, %n the program's name and %% a percent sign";
    if (value.text[0] != '/' && !current_directory_write(&writer))
        return "an absolute path, for the current directory has no name";
    writer_bytes(&writer, value.text, value.length);
    if (writer.truncated)
        return "a path of less than 4096 bytes";
    text_copy(kept, path, writer.length + 1);
    *option = kept;
    return NULL;
}

static RARE const char *set_stats_file(word_t value)
{
    static RARE_DATA char kept[PATH_MAX];
    return set_path(&options.stats_file, kept, value);
}

static RARE const char *set_record(word_t value)
{
    static RARE_DATA char kept[PATH_MAX];
    return set_path(&options.record, kept, value);
}
_Static_assert(PATH_MAX == 4096, "said in the message above");

static RARE const char *set_requested(word_t value)
{
    if (!word_is(value, "exact") && !word_is(value, "sampled"))
        return "sampled or exact";
    options.requested_exact = word_is(value, "exact");
    return NULL;
}

static RARE const char *set_waste(word_t value)
{
    unsigned percent = 0;
    bool good = value.length > 0;
    for (size_t i = 0; i < value.length && good; i++) {
        percent = percent * 10 + (unsigned)(value.text[i] - '0');
        good = value.text[i] >= '0' && value.text[i] <= '9' && percent <= WASTE_PERCENT_MAX;
    }
    if (!good)
        return "a percentage from 0 to 1000";
    options.waste_percent = percent;
    return NULL;
}
_Static_assert(WASTE_PERCENT_MAX == 1000, "said in the message above");

static RARE const char *set_on_error(word_t value)
{
    if (!word_is(value, "abort") && !word_is(value, "report"))
        return "abort or report";
    options.abort_on_misuse = word_is(value, "abort");
    return NULL;
}

static RARE const char *set_switch(bool *option, word_t value)
{
    if (!word_is(value, "on") && !word_is(value, "off"))
        return "on or off";
    *option = word_is(value, "on");
    return NULL;
}

static RARE const char *set_profile(word_t value)
{
    return set_switch(&options.profile, value);
}

static RARE const char *set_follow(word_t value)
{
    return set_switch(&options.follow, value);
}

// Digits and perhaps K, M or G, with or without iB or B behind it. 0: none of that, or beyond 2^62.
static RARE size_t bytes_parse(word_t value)
{
    static const char *const units[] = {"", "B", "K", "KB", "KiB", "M", "MB", "MiB", "G", "GB", "GiB"};
    static const unsigned char shifts[] = {0, 0, 10, 10, 10, 20, 20, 20, 30, 30, 30};
    const size_t most = (size_t)1 << 32;
    size_t number = 0, digits = 0;
    for (; digits < value.length && value.text[digits] >= '0' && value.text[digits] <= '9'; digits++)
        if ((number = number * 10 + (size_t)(value.text[digits] - '0')) > most)
            return 0;
    word_t unit = {value.text + digits, value.length - digits};
    for (unsigned i = 0; digits != 0 && i < sizeof units / sizeof *units; i++)
        if (word_is(unit, units[i]))
            return number << shifts[i];
    return 0;
}

static RARE const char *set_bytes(size_t *option, word_t value, size_t least, size_t most, const char *accepted)
{
    size_t bytes = bytes_parse(value);
    if (bytes < least || bytes > most)
        return accepted;
    *option = bytes;
    return NULL;
}

static RARE const char *set_sample(word_t value)
{
    const char *accepted = set_bytes(&options.sample_bytes, value, 1, SAMPLE_BYTES_MAX,
                                     "bytes from 1 to 1GiB, as 65536 or 512KiB");
    options.sample_given |= accepted == NULL;
    return accepted;
}
_Static_assert(SAMPLE_BYTES_MAX == (size_t)1 << 30, "said in the message above");

static RARE const char *set_limit(word_t value)
{
    return set_bytes(&options.limit_bytes, value, LIMIT_BYTES_MIN, LIMIT_BYTES_MAX,
                     "bytes from 1MiB, as 536870912 or 512MiB");
}
_Static_assert(LIMIT_BYTES_MIN == (size_t)1 << 20, "said in the message above");

static RARE const char *set_record_max(word_t value)
{
    return set_bytes(&options.record_max_bytes, value, RECORD_BYTES_MIN, RECORD_BYTES_MAX,
                     "bytes from 1MiB to 16GiB, as 8388608 or 8MiB");
}
_Static_assert(RECORD_BYTES_MIN == (size_t)1 << 20 && RECORD_BYTES_MAX == (size_t)16 << 30, "said above");

// USR2, SIGUSR2 or 12.
static RARE const char *set_record_signal(word_t value)
{
    bool prefixed = value.length > 3 && text_begins(value.text, "SIG");
    word_t name = prefixed ? (word_t){value.text + 3, value.length - 3} : value;
    size_t number = bytes_parse(value);
    for (int signal = 1; signal < NSIG; signal++) {
        const char *known_name = sigabbrev_np != NULL ? sigabbrev_np(signal) : NULL;
        bool is_it = (known_name != NULL && word_is(name, known_name)) || (size_t)signal == number;
        if (is_it && signal != SIGKILL && signal != SIGSTOP) {
            options.record_signal = signal;
            return NULL;
        }
    }
    return "a signal, as USR2";
}

static const char *set_harden(word_t value)
{
    if (value.length != 1 || value.text[0] < '0' || value.text[0] > '0' + HARDEN_MOST)
        return "0, 1, 2 or 3";
    options.harden = (unsigned)(value.text[0] - '0');
    return NULL;
}
_Static_assert(HARDEN_MOST == 3, "said in the message above");

static RARE const char *set_traps(word_t value)
{
    size_t every = bytes_parse(value);
    if ((every < 1 || every > TRAPS_MAX) && !word_is(value, "off"))
        return "a number from 1 to 1000000000, or off";
    options.traps = (unsigned)every;
    return NULL;
}
_Static_assert(TRAPS_MAX == 1000000000, "said in the message above");

static const char *set_huge(word_t value)
{
    options.huge = word_is(value, "on") ? HUGE_ON : word_is(value, "off") ? HUGE_OFF : HUGE_AUTO;
    return options.huge != HUGE_AUTO || word_is(value, "auto") ? NULL : "auto, on or off";
}

static const option_t known[] = {
    {"stats", set_stats},
    {"stats_file", set_stats_file},
    {"requested", set_requested},
    {"waste", set_waste},
    {"on_error", set_on_error},
    {"record", set_record},
    {"record_max", set_record_max},
    {"record_signal", set_record_signal},
    {"follow", set_follow},
    {"profile", set_profile},
    {"sample", set_sample},
    {"harden", set_harden},
    {"traps", set_traps},
    {"limit", set_limit},
    {"huge", set_huge},
};

// --- the list --------------------------------------------------------------------------------------------------------

static const option_t *option_find(word_t key)
{
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (word_is(key, known[i].key))
            return &known[i];
    return NULL;
}

// Without a word at first: see options.h.
static bool fault_noted(bool complain)
{
    options.faulty = true;
    return complain;
}

static void complain_unknown(word_t key)
{
    char keys[300];
    writer_t writer = WRITER(keys);
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].set != NULL)
            writer_format(&writer, "%s%s", i == 0 ? "" : ", ", known[i].key);
    output_line("unknown option \"%s\"; the options are %s", word_show(key).text, keys);
}

static void option_apply(word_t key, word_t value, bool complain)
{
    const option_t *option = option_find(key);
    const char *accepted = option != NULL && option->set != NULL ? option->set(value) : NULL;
    bool good = option != NULL && option->set != NULL && accepted == NULL;
    if (good || !fault_noted(complain))
        return;
    if (option == NULL)
        complain_unknown(key);
    else if (option->set == NULL)
        output_line("option \"%s\" is not available in this version", option->key);
    else
        output_line("option \"%s\": bad value \"%s\"; accepted: %s", option->key, word_show(value).text, accepted);
}

static void item_apply(word_t item, bool complain)
{
    size_t key_length = text_find_within(item.text, '=', item.length);
    if (item.length == 0)
        return;
    if (key_length == item.length) {
        if (fault_noted(complain))
            output_line("option \"%s\" has no value; write key=value:key=value", word_show(item).text);
        return;
    }
    word_t key = {item.text, key_length};
    word_t value = {item.text + key_length + 1, item.length - key_length - 1};
    option_apply(key, value, complain);
}

static void list_apply(const char *list, bool complain)
{
    for (;;) {
        word_t item = {list, (size_t)(text_find(list, ':') - list)};
        item_apply(item, complain);
        list += item.length;
        if (*list++ == '\0')
            return;
    }
}

// --- the environment -------------------------------------------------------------------------------------------------

// The top of the initial stack: argc, the arguments, NULL, the environment. The loader's; weak, for it is no part of
// the C library, the only one that is needed.
extern void *__libc_stack_end __attribute__((weak));

// environ is set by the C library's constructor, and an allocation may come before that.
static char **environment(void)
{
    if (environ != NULL)
        return environ;
    if (&__libc_stack_end == NULL)
        return NULL;
    long argument_count = *(long *)__libc_stack_end;
    return (char **)__libc_stack_end + 1 + argument_count + 1;
}

static const char *variable_value(void)
{
    char **entry = environment();
    for (; entry != NULL && *entry != NULL; entry++)
        if (text_begins(*entry, VARIABLE "="))
            return *entry + sizeof VARIABLE;
    return NULL;
}

static bool is_secure(void)
{
    return getauxval(AT_SECURE) != 0;
}

void options_read(unsigned default_waste_percent)
{
    static bool done; // by the first allocation or the constructor, whichever comes first: one thread as yet
    if (done)
        return;
    done = true;
    options.waste_percent = default_waste_percent;
    options.abort_on_misuse = true;
    options.profile = true;
    options.follow = true;
    options.sample_bytes = SAMPLE_BYTES;
    options.traps = TRAP_EVERY;
    options.record_max_bytes = RECORD_BYTES;
    if (is_secure()) {
        options.stats = STATS_OFF;
        return;
    }
    const char *list = variable_value();
    if (list != NULL)
        list_apply(list, false);
}

void options_complain(void)
{
    const char *list = is_secure() ? NULL : variable_value();
    if (list != NULL)
        list_apply(list, true);
}
