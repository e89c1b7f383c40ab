// tools/html/src/main.js - reads the report that stands in the page, and has each picture draw its part.
import { bandsMount } from './bands.js';
import { classesMount } from './classes.js';
import { modelOf, reportRead } from './data.js';
import { byId, element, emptyNote, fill, hint, quietButton } from './dom.js';
import { flameMount } from './flame.js';
import { bytesText, countText, secondsText } from './format.js';
import { heapMapMount } from './heapmap.js';
import { histogramMount } from './histogram.js';
import { processesMount } from './processes.js';
import { selectionNew } from './selection.js';
import { themeMount } from './theme.js';
import { waterfallMount } from './waterfall.js';

const ENDED = { running: 'still running', unknown: 'what leaves no word (SIGKILL, out of memory, exec of what is not recorded)', exit: 'exit', request: 'on request' };

function provenanceText(report) {
    const parts = [
        report.pid ? `pid ${report.pid}` : null,
        report.duration_ms ? secondsText(report.duration_ms / 1000) : null,
        report.ended_by
            ? `ended by ${ENDED[report.ended_by] ?? report.ended_by}`.replace('ended by still', 'still')
            : null,
        report.started_unix_ms
            ? new Date(report.started_unix_ms).toISOString().slice(0, 16).replace('T', ' ') + ' UTC'
            : null,
    ];
    return parts.filter(Boolean).join(' · ');
}

// A second cause is told in smaller letters.
function verdictFill(verdict) {
    const second = verdict.search(/; (besides|but)\b/);
    const first = second < 0 ? verdict : verdict.slice(0, second);
    fill(byId('verdict'), first, second < 0 ? null : element('span', { class: 'besides' }, verdict.slice(second)));
}

function headerFill(model) {
    const { report } = model;
    const program = report.program ?? 'tarn report';
    document.title = `${program}: tarn report`;
    byId('program').textContent = program;
    byId('program').title = (report.command ?? []).join(' ');
    byId('provenance').textContent = provenanceText(report);
    verdictFill(model.verdict);
    const warnings = report.warnings ?? [];
    byId('advice').replaceChildren(...warnings.map((text) => element('span', { class: 'warning' }, text)));
}

function factNode(name, value, note) {
    return element(
        'div',
        {},
        element('dt', {}, name),
        element('dd', {}, value, note ? element('small', {}, note) : null),
    );
}

function factsOf(model, sheet) {
    const facts = [
        factNode('Heap', bytesText(sheet.heap_rss_bytes), 'resident'),
        factNode('Live', bytesText(sheet.live_bytes), `${countText(sheet.live_blocks)} blocks`),
        factNode('Holes', bytesText(sheet.holes_bytes)),
        factNode('Rounding', bytesText(sheet.rounding_bytes)),
    ];
    if (!model.processKnown) return facts;
    const peak = Math.max(model.snapshots[model.peak].rss_bytes, Number(sheet.peak_rss_bytes) || 0);
    return [factNode('Resident', bytesText(sheet.rss_bytes), `peak ${bytesText(peak)}`), ...facts];
}

function footerFill(report) {
    const host = report.provenance ?? {};
    const parts = [
        report.tarn_version ? `tarn ${report.tarn_version}` : 'tarn',
        report.recording,
        report.sample_bytes > 0 ? `a sample every ${bytesText(report.sample_bytes)}` : null,
        host.kernel,
        'every figure is defined in docs/statistics.md',
    ];
    byId('footer').textContent = parts.filter(Boolean).join(' · ');
}

// --- which snapshot is shown -----------------------------------------------------------------------------------------

function momentText(model, index) {
    const sheet = model.snapshots[index];
    const marks = [
        index === model.peak ? 'the peak' : null,
        index === model.last ? 'the last' : null,
        sheet.reason ?? null,
    ];
    const time = secondsText(sheet.time_ms / 1000);
    return `Snapshot ${index + 1} of ${model.snapshots.length}, at ${time} (${marks.filter(Boolean).join(', ')})`;
}

function momentMount(root, model, selection) {
    root.hidden = model.snapshots.length < 2;
    const text = element('span', { class: 'text' });
    const button = (label, title, to) => quietButton(label, () => selection.set(to()), { title, 'aria-label': title });
    const before = button('‹', 'Previous snapshot', () => selection.index - 1);
    const after = button('›', 'Next snapshot', () => selection.index + 1);
    fill(
        root,
        before,
        after,
        button('Peak', 'Snapshot at the peak', () => model.peak),
        button('Last', 'Last snapshot', () => model.last),
        text,
    );
    selection.follow((index) => {
        text.textContent = momentText(model, index);
        before.disabled = index === 0;
        after.disabled = index === model.snapshots.length - 1;
        root.dataset.index = index;
        fill(byId('facts'), factsOf(model, model.snapshots[index]));
    });
}

// A picture that fails takes none of the others with it.
function pictureMount(mount, id, ...rest) {
    try {
        mount(byId(id), ...rest);
    } catch (error) {
        console.error(error);
        fill(byId(id), emptyNote('This picture could not be drawn.'), hint(String(error.message)));
    }
}

const PICTURES = [
    [waterfallMount, 'waterfall'],
    [bandsMount, 'bands'],
    [heapMapMount, 'heapmap'],
    [classesMount, 'classes'],
    [histogramMount, 'histogram'],
    [flameMount, 'flame'],
];

function pageMount() {
    themeMount(byId('theme'));
    const model = modelOf(reportRead(byId('report').textContent));
    headerFill(model);
    footerFill(model.report);
    processesMount(byId('processes-card'), byId('processes'), model.report);
    if (model.snapshots.length === 0) {
        byId('moment').hidden = true;
        for (const [, id] of PICTURES)
            fill(byId(id), emptyNote('No snapshot in this report.', 'The process ended before the first one.'));
        return;
    }
    const selection = selectionNew(model.snapshots.length, model.first);
    momentMount(byId('moment'), model, selection);
    for (const [mount, id] of PICTURES) pictureMount(mount, id, model, selection);
}

pageMount();
