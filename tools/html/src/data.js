// tools/html/src/data.js - the report as the pictures want it. The only file that knows what `tarn report --json` may
// leave out (docs/report-json.md): past this file a figure is a number and a list is a list.

// The balance sheet, top to bottom: [field, name, sign, meaning]. Sign 0 is a sum of what is above it.
export const SHEET = [
    ['requested_bytes', 'requested', 1, 'What the program asked for and still holds.'],
    ['rounding_bytes', 'rounding', 1, 'Blocks are larger than what was asked for: internal fragmentation.'],
    ['holes_bytes', 'holes', 1, 'Free blocks in pages that also hold live ones: external fragmentation.'],
    ['tail_bytes', 'tail', 1, 'Page ends that fit no block.'],
    ['retained_bytes', 'retained', 1, 'Pages and mappings without a live block, kept for reuse.'],
    ['pending_bytes', 'pending', 1, 'Freed by another thread, and not yet taken back by the owner.'],
    ['metadata_bytes', 'metadata', 1, 'The allocator’s own tables.'],
    [
        'untouched_bytes',
        'untouched',
        -1,
        'Live, but never touched and so not resident: counted in requested, subtracted here.',
    ],
    ['heap_rss_bytes', 'heap rss', 0, 'Resident bytes of the heap: the sum of the above.'],
    ['other_rss_bytes', 'other rss', 1, 'Not the heap: program, libraries, stacks, the program’s own mappings.'],
    ['rss_bytes', 'rss', 0, 'Resident memory of the process, as the kernel counts it.'],
];

// What of the resident memory each cause is, from the bottom of the picture over time to its top.
export const BANDS = [
    'other_rss_bytes',
    'in_use_bytes',
    'rounding_bytes',
    'holes_bytes',
    'tail_bytes',
    'retained_bytes',
    'pending_bytes',
    'metadata_bytes',
];

export const WASTES = ['rounding_bytes', 'holes_bytes', 'tail_bytes', 'pending_bytes'];

export const METRICS = [
    ['pinned_bytes', 'pinned', 'free bytes in pages that these blocks keep from being given back'],
    ['rounding_bytes', 'rounding', 'bytes beyond what was asked for'],
    ['live_bytes', 'live', 'bytes in blocks that are held'],
    ['allocated_bytes', 'allocated', 'bytes since the start, freed or not'],
];

const NUMBERS = [
    'time_ms',
    'live_bytes',
    'live_blocks',
    'threads',
    'budget_bytes',
    'purged_total_bytes',
    'allocated_total',
    'requested_error_bytes',
    'peak_rss_bytes',
    ...SHEET.map(([field]) => field),
];
const CLASS_NUMBERS = [
    'block_bytes',
    'page_bytes',
    'pages',
    'live_blocks',
    'requested_bytes',
    'rounding_bytes',
    'holes_bytes',
    'tail_bytes',
    'pending_bytes',
    'occupancy_percent',
];

// Control characters, and those that turn the direction of what follows: names are shown with nothing hidden in them.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

function seen(text) {
    return text.replace(UNSEEN, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function reportRead(json) {
    return JSON.parse(json, (_, value) => (typeof value === 'string' ? seen(value) : value));
}

function withNumbers(row, names) {
    const numbers = Object.fromEntries(names.map((name) => [name, Number(row[name]) || 0]));
    return { ...row, ...numbers };
}

function classOf(row) {
    const result = withNumbers(row, CLASS_NUMBERS);
    result.waste_bytes = WASTES.reduce((sum, name) => sum + result[name], 0);
    return result;
}

// Untouched bytes are live, most of them asked for and not rounding: that is where they are taken from.
function inUse(sheet) {
    return Math.max(0, sheet.requested_bytes - sheet.untouched_bytes);
}

function snapshotOf(row) {
    const sheet = withNumbers(row, NUMBERS);
    sheet.in_use_bytes = inUse(sheet);
    sheet.classes = (row.classes ?? []).map(classOf);
    sheet.map = row.map ?? null;
    return sheet;
}

function stackOf(row, index) {
    return { ...row, index, frames: row.frames ?? [], site: row.site ?? '' };
}

// Stacks have each metric at two snapshots: the last one, and the one where all of it was highest. {index: field}
function momentsOf(report, snapshots, last, metric) {
    if (metric === 'allocated_bytes') return { [last]: metric };
    const [prefix, other] = metric === 'pinned_bytes' ? ['worst_', report.worst] : ['peak_', report.peak_live];
    const moments = { [last]: metric };
    const highest = indexIn(snapshots, other);
    if (highest !== null && highest !== last) moments[highest] = prefix + metric;
    return moments;
}

function nearest(indices, snapshots, index) {
    const distance = (other) => Math.abs(snapshots[other].time_ms - snapshots[index].time_ms);
    return indices.reduce((best, other) => (distance(other) < distance(best) ? other : best));
}

function profileOf(report, snapshots, last) {
    const stacks = (report.stacks ?? []).map(stackOf);
    if (!stacks.some((stack) => stack.frames.length > 0)) return null;
    const fields = Object.fromEntries(METRICS.map(([metric]) => [metric, momentsOf(report, snapshots, last, metric)]));
    return {
        stacks,
        frames: report.frames ?? [],
        modules: report.modules ?? [],
        threads: report.threads ?? [],
        samples: report.samples ?? [],
        // The snapshot, near the one at `index`, at which the metric is known.
        momentOf: (metric, index) => nearest(Object.keys(fields[metric]).map(Number), snapshots, index),
        bytes: (stack, metric, moment) => Number(stack[fields[metric][moment]]) || 0,
    };
}

function indexIn(snapshots, wanted) {
    return Number.isInteger(wanted) && wanted >= 0 && wanted < snapshots.length ? wanted : null;
}

function highest(snapshots) {
    return snapshots.reduce((best, sheet, index) => (sheet.rss_bytes > snapshots[best].rss_bytes ? index : best), 0);
}

export function modelOf(report) {
    // The JSON of `tarn run --stats json` is one balance sheet: a report with one snapshot.
    const rows = report.snapshots?.length
        ? report.snapshots
        : report.snapshots || !('heap_rss_bytes' in report)
          ? []
          : [report];
    const snapshots = rows.map(snapshotOf);
    const last = indexIn(snapshots, report.last) ?? Math.max(0, snapshots.length - 1);
    const peak = indexIn(snapshots, report.peak) ?? highest(snapshots);
    return {
        report,
        snapshots,
        last,
        peak,
        processKnown: snapshots.every((sheet) => sheet.process_known !== false),
        // The snapshot that the verdict is about: the pictures begin there.
        first: indexIn(snapshots, report.cause?.snapshot) ?? last,
        causeMetric: METRICS.some(([metric]) => metric === report.cause?.metric) ? report.cause.metric : null,
        verdict: report.verdict ?? snapshots[last]?.verdict ?? 'A report without a verdict',
        profile: snapshots.length > 0 ? profileOf(report, snapshots, last) : null,
        requestSizes: report.request_sizes ?? [],
        whatIf: report.what_if ?? [],
    };
}
