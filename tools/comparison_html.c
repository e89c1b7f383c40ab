// tools/comparison_html.c - a comparison as one page: loads nothing, runs no script, light and dark, wide and narrow.
//
// Each metric is a table whose middle column is drawn: a dot a run, a bar at the median. Positions in it are
// percentages, so it takes whatever width there is. The curves are stretched to their frame, their labels are text
// beside it.
#include "comparison.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLOURS = 9,        // of the style sheet: --c0 is the base row's; a tenth row begins anew, dashed
    CURVE_SCALE = 1000, // the curves' frame is a square of that many units, whatever its real shape
    TICKS_WANTED = 5,
};

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fcfcfb;--ink:#0b0b0b;--soft:#52514e;--faint:#898781;--line:#e1e0d9;"
    "--mark:#f0efec;--c0:#6f6d68;--c1:#2a78d6;--c2:#eb6834;--c3:#1baf7a;--c4:#eda100;--c5:#e87ba4;--c6:#008300;"
    "--c7:#4a3aa7;--c8:#e34948}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#1a1a19;--ink:#fff;--soft:#c3c2b7;--faint:#898781;"
    "--line:#2c2c2a;--mark:#262624;--c0:#a5a39c;--c1:#3987e5;--c2:#d95926;--c3:#199e70;--c4:#c98500;--c5:#d55181;"
    "--c6:#2f9e2f;--c7:#9085e9;--c8:#e66767}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem 3rem;background:var(--paper);"
    "color:var(--ink);font:15px/1.45 system-ui,sans-serif}\n"
    "h1{font-size:1.15rem;margin:0 0 .2rem;overflow-wrap:anywhere}h1 code{font-weight:600}"
    "h2{font-size:1rem;margin:2rem 0 .4rem}p{margin:.2rem 0}.soft,caption,th{color:var(--soft)}\n"
    ".verdict{background:var(--mark);border-radius:8px;padding:.8rem 1rem;margin:1rem 0}"
    ".verdict p:first-child{font-size:1.1rem;font-weight:600}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.15rem .5rem;text-align:right;font-weight:400;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left;padding-left:0;max-width:11rem;overflow:hidden;text-overflow:"
    "ellipsis}"
    "table{table-layout:fixed}th:nth-child(1){width:9rem}th:nth-child(3){width:5.6rem}th:nth-child(4){width:3.6rem}"
    "th:nth-child(5){width:8rem}th:nth-child(6){width:7.6rem}td.runs "
    "svg{display:block;width:100%;height:22px;overflow:visible}\n"
    "td.less{color:var(--ink);font-weight:600}td.more{color:var(--ink);font-weight:600}td.none{color:var(--faint)}\n"
    ".swatch{display:inline-block;width:.75rem;height:.75rem;border-radius:3px;margin-right:.45rem;"
    "vertical-align:-.05rem}.legend>span{margin-right:1.1rem;white-space:nowrap}\n"
    ".frame{position:relative;height:17rem;margin:.6rem 0 1.8rem 4.6rem}.frame svg{width:100%;height:100%;"
    "display:block;overflow:visible}.frame span{position:absolute;color:var(--soft);font-size:.8rem;white-space:nowrap}"
    ".frame .y{right:100%;margin-right:.5rem;transform:translateY(50%)}"
    ".frame .x{top:100%;margin-top:.3rem;transform:translateX(-50%)}\n"
    ".facts{columns:2 20rem;padding:0;list-style:none;margin:.4rem 0}.facts "
    "li{break-inside:avoid;overflow-wrap:anywhere}"
    ".facts b{font-weight:400;color:var(--soft);margin-right:.4rem}\n"
    "@media(max-width:40rem){.wide{display:none}td,th{padding:.15rem .25rem}th:nth-child(1){width:6.5rem}"
    "th:nth-child(3){width:4.9rem}th:nth-child(4){width:2.8rem}th:nth-child(6){width:6.6rem}.frame{margin-left:4rem}}"
    "\n";

static void text_write(const char *text, FILE *file)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            fputc(*text, file);
        }
}

static void command_write(const comparison_t *comparison, FILE *file)
{
    char *text = NULL;
    size_t length = 0;
    FILE *plain = open_memstream(&text, &length);
    if (plain == NULL)
        return;
    comparison_command_write(comparison, plain);
    if (fclose(plain) == 0)
        text_write(text, file);
    free(text);
}

// The base row has the neutral colour, the others theirs in their order.
static int colour_of(const comparison_t *comparison, int row)
{
    if (row == comparison->base)
        return 0;
    int place = row < comparison->base ? row + 1 : row;
    return (place - 1) % (COLOURS - 1) + 1;
}

static bool is_dashed(const comparison_t *comparison, int row)
{
    return row != comparison->base && row >= COLOURS;
}

static void name_write(const comparison_t *comparison, int row, FILE *file)
{
    fprintf(file, "<span class=\"swatch\" style=\"background:var(--c%d)\"></span>", colour_of(comparison, row));
    text_write(comparison->rows[row].allocator->name, file);
}

// --- the figures -----------------------------------------------------------------------------------------------------

static double metric_highest(const comparison_t *comparison, metric_t metric)
{
    double highest = 0;
    for (int row = 0; row < comparison->count; row++)
        for (int i = 0; !comparison->rows[row].is_out && i < comparison->rows[row].count; i++)
            highest = fmax(highest, comparison->rows[row].cells[metric].values[i]);
    return highest > 0 ? highest : 1;
}

// From 0 at the left to the highest value of the metric at the right. The dashed line is the base row's median.
static void runs_write(const comparison_t *comparison, int row, metric_t metric, FILE *file)
{
    const cell_t *cell = &comparison->rows[row].cells[metric];
    double percent = 100 / metric_highest(comparison, metric);
    double base = comparison->rows[comparison->base].cells[metric].median * percent;
    char quantity[COMPARISON_QUANTITY_BYTES];
    fprintf(file,
            "<td class=\"runs\"><svg role=\"img\" aria-label=\"single runs\"><line x1=\"0\" x2=\"100%%\" y1=\"11\" "
            "y2=\"11\" "
            "stroke=\"var(--line)\"/><line x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"-2\" y2=\"24\" stroke=\"var(--faint)\" "
            "stroke-dasharray=\"2 3\"/>",
            base, base);
    for (int i = 0; i < comparison->rows[row].count; i++)
        fprintf(
            file,
            "<circle cx=\"%.2f%%\" cy=\"11\" r=\"4\" fill=\"var(--c%d)\" fill-opacity=\".45\"><title>run %d: %s</title>"
            "</circle>",
            cell->values[i] * percent, colour_of(comparison, row), i + 1,
            metric_quantity(metric, cell->values[i], quantity));
    fprintf(file,
            "<line x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"3\" y2=\"19\" stroke=\"var(--c%d)\" stroke-width=\"3\" "
            "stroke-linecap=\"round\"><title>median: %s</title></line></svg></td>",
            cell->median * percent, cell->median * percent, colour_of(comparison, row),
            metric_quantity(metric, cell->median, quantity));
}

static void cell_write(const comparison_t *comparison, int row, metric_t metric, FILE *file)
{
    const cell_t *cell = &comparison->rows[row].cells[metric];
    char quantity[COMPARISON_QUANTITY_BYTES];
    fputs("<tr><td>", file);
    name_write(comparison, row, file);
    fputs("</td>", file);
    runs_write(comparison, row, metric, file);
    fprintf(file, "<td>%s</td>", metric_quantity(metric, cell->median, quantity));
    if (row == comparison->base)
        fputs("<td>1</td><td class=\"wide\"></td><td class=\"none\"></td></tr>\n", file);
    else {
        fprintf(file, "<td>%.2f</td><td class=\"wide\">", cell->ratio.estimate);
        if (cell->ratio.bounded)
            fprintf(file, "%.2f to %.2f", cell->ratio.low, cell->ratio.high);
        fprintf(file, "</td><td class=\"%s\">%s</td></tr>\n", difference_key(cell->difference),
                !comparison_can_tell(comparison)      ? "cannot be told"
                : cell->difference == DIFFERENCE_NONE ? "no difference"
                                                      : difference_key(cell->difference));
    }
}

static void metric_write(const comparison_t *comparison, metric_t metric, FILE *file)
{
    fprintf(file,
            "<h2>%c%s</h2>\n<table><tr><th></th><th></th><th>median</th><th>ratio</th><th class=\"wide\">%d&nbsp;%% "
            "interval</th><th>beyond noise</th></tr>\n",
            metric == METRIC_CPU ? 'C' : metric_title(metric)[0] - 'a' + 'A', metric_title(metric) + 1,
            STATISTICS_CONFIDENCE_PERCENT);
    for (int row = 0; row < comparison->count; row++)
        if (!comparison->rows[row].is_out)
            cell_write(comparison, row, metric, file);
    fputs("</table>\n", file);
}

// --- resident memory over time ---------------------------------------------------------------------------------------

// 1, 2 or 5 of a power of ten of `unit`, so that about TICKS_WANTED of them make `highest`.
static double step_choose(double highest, double unit)
{
    double wanted = highest / TICKS_WANTED / unit;
    double power = pow(10, floor(log10(wanted)));
    double digit = wanted / power;
    return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power * unit;
}

static double unit_of_bytes(double bytes)
{
    return bytes >= 1 << 30 ? 1 << 30 : bytes >= 1 << 20 ? 1 << 20 : 1 << 10;
}

typedef struct frame {
    double right_ns, top_bytes; // its left and bottom are 0
} frame_t;

static frame_t frame_of(const comparison_t *comparison)
{
    frame_t frame = {1, 1};
    for (int row = 0; row < comparison->count; row++) {
        if (comparison->rows[row].is_out)
            continue;
        const measurement_t *run = comparison_typical_run(&comparison->rows[row]);
        frame.right_ns = fmax(frame.right_ns, (double)run->wall_ns);
        for (int i = 0; i < run->curve.count; i++)
            frame.top_bytes = fmax(frame.top_bytes, (double)run->curve.points[i].resident_bytes);
    }
    double step = step_choose(frame.top_bytes, unit_of_bytes(frame.top_bytes));
    frame.top_bytes = ceil(frame.top_bytes / step) * step;
    return frame;
}

static void curve_write(const comparison_t *comparison, int row, frame_t frame, FILE *file)
{
    const measurement_t *run = comparison_typical_run(&comparison->rows[row]);
    fprintf(file,
            "<polyline fill=\"none\" stroke=\"var(--c%d)\" stroke-width=\"2\" stroke-linejoin=\"round\" "
            "vector-effect=\"non-scaling-stroke\"%s points=\"",
            colour_of(comparison, row), is_dashed(comparison, row) ? " stroke-dasharray=\"6 4\"" : "");
    for (int i = 0; i < run->curve.count; i++)
        fprintf(file, "%.1f,%.1f ", (double)run->curve.points[i].at_ns / frame.right_ns * CURVE_SCALE,
                CURVE_SCALE * (1 - (double)run->curve.points[i].resident_bytes / frame.top_bytes));
    fputs("\"><title>", file);
    text_write(comparison->rows[row].allocator->name, file);
    fputs("</title></polyline>\n", file);
}

static void grid_write(frame_t frame, FILE *file)
{
    double step = step_choose(frame.top_bytes, unit_of_bytes(frame.top_bytes));
    for (double bytes = 0; bytes <= frame.top_bytes * 1.001; bytes += step)
        fprintf(file,
                "<line x1=\"0\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"var(--line)\" "
                "vector-effect=\"non-scaling-stroke\"/>\n",
                CURVE_SCALE, CURVE_SCALE * (1 - bytes / frame.top_bytes), CURVE_SCALE * (1 - bytes / frame.top_bytes));
}

static void labels_write(frame_t frame, FILE *file)
{
    char quantity[COMPARISON_QUANTITY_BYTES];
    double step = step_choose(frame.top_bytes, unit_of_bytes(frame.top_bytes));
    for (double bytes = 0; bytes <= frame.top_bytes * 1.001; bytes += step)
        fprintf(file, "<span class=\"y\" style=\"bottom:%.2f%%\">%s</span>", 100 * bytes / frame.top_bytes,
                bytes > 0 ? metric_quantity(METRIC_PEAK, bytes, quantity) : "0");
    step = step_choose(frame.right_ns, 1);
    for (double ns = 0; ns <= frame.right_ns; ns += step)
        fprintf(file, "<span class=\"x\" style=\"left:%.2f%%\">%s</span>", 100 * ns / frame.right_ns,
                ns > 0 ? metric_quantity(METRIC_WALL, ns, quantity) : "0");
}

static void curves_write(const comparison_t *comparison, FILE *file)
{
    frame_t frame = frame_of(comparison);
    fputs(
        "<h2>Resident memory over time</h2>\n<p class=\"soft\">Of each allocator, the run whose peak is the median.</p>"
        "<p class=\"legend\">",
        file);
    for (int row = 0; row < comparison->count; row++)
        if (!comparison->rows[row].is_out) {
            fputs("<span>", file);
            name_write(comparison, row, file);
            fputs("</span>", file);
        }
    fprintf(file,
            "</p>\n<div class=\"frame\"><svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"resident memory over time\">\n",
            CURVE_SCALE, CURVE_SCALE);
    grid_write(frame, file);
    for (int row = 0; row < comparison->count; row++)
        if (!comparison->rows[row].is_out)
            curve_write(comparison, row, frame, file);
    fputs("</svg>", file);
    labels_write(frame, file);
    fputs("</div>\n", file);
}

// --- the page --------------------------------------------------------------------------------------------------------

static void verdict_write(const verdict_t *verdict, FILE *file)
{
    fputs("<div class=\"verdict\">", file);
    for (const char *line = verdict->text; *line != '\0';) {
        size_t width = strcspn(line, "\n");
        char text[COMPARISON_VERDICT_BYTES];
        snprintf(text, sizeof text, "%.*s", (int)width, line);
        fputs("<p>", file);
        text_write(text + strspn(text, " "), file);
        fputs("</p>", file);
        line += width + (line[width] != '\0');
    }
    fputs("</div>\n", file);
}

static void fact_write(const char *name, const char *value, FILE *file)
{
    fputs("<li><b>", file);
    for (; *name != '\0'; name++)
        *name == '_' ? fputc(' ', file) : text_write((char[]){*name, '\0'}, file);
    fputs("</b>", file);
    text_write(value, file);
    fputs("</li>", file);
}

static void provenance_write(const comparison_t *comparison, FILE *file)
{
    fputs("<h2>Measured on</h2><ul class=\"facts\">", file);
    for (int i = 0; i < comparison->provenance.count; i++)
        fact_write(comparison->provenance.facts[i].name, comparison->provenance.facts[i].value, file);
    fputs("</ul>\n<h2>Allocators</h2><ul class=\"facts\">", file);
    for (int row = 0; row < comparison->count; row++)
        fact_write(comparison->rows[row].allocator->name, comparison->rows[row].allocator->version, file);
    for (int i = 0; i < comparison->allocators->missing_count; i++)
        fact_write(comparison->allocators->missing[i].name, comparison->allocators->missing[i].reason, file);
    fputs("</ul>\n", file);
}

static void notes_write(const comparison_t *comparison, FILE *file)
{
    for (int i = 0; i < comparison->note_count; i++) {
        fputs("<p>Note: ", file);
        text_write(comparison->notes[i], file);
        fputs("</p>\n", file);
    }
}

static void method_write(const comparison_t *comparison, FILE *file)
{
    fprintf(
        file,
        "<p class=\"soft\">Below 1 is better everywhere. A dot is a run, the bar their median, the dashed line the "
        "median "
        "of %s. The ratio is the median of all ratios between the two sides, its interval rests on their order. Last "
        "column: a rank-sum test, corrected for all figures of this page, at 1&nbsp;%%; less than 1&nbsp;%% counts as "
        "none.</p>\n",
        comparison->rows[comparison->base].allocator->name);
}

void comparison_html_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width,initial-scale=1\"><title>tarn compare: ",
          file);
    command_write(comparison, file);
    fprintf(file, "</title>\n<style>\n%s</style></head><body>\n<h1>tarn compare: <code>", style);
    command_write(comparison, file);
    fprintf(file,
            "</code></h1>\n<p class=\"soft\">%d run%s under each allocator after one to warm up, in random order "
            "(seed %lu)</p>\n",
            comparison->runs, comparison->runs == 1 ? "" : "s", comparison->seed);
    verdict_write(verdict, file);
    notes_write(comparison, file);
    for (metric_t metric = 0; metric < METRICS; metric++)
        if (comparison_has(comparison, metric))
            metric_write(comparison, metric, file);
    method_write(comparison, file);
    if (comparison->is_sampled)
        curves_write(comparison, file);
    provenance_write(comparison, file);
    fputs("</body></html>\n", file);
}
