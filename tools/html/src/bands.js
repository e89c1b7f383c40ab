// tools/html/src/bands.js - resident memory over time, one band a cause. Pressing or drawing over it selects a
// snapshot.
import uPlot from 'uplot';
import { BANDS, SHEET } from './data.js';
import { element, emptyNote, fill, hint, onWidth } from './dom.js';
import { bytesText, bytesTick, secondsText, secondsTick } from './format.js';
import { colour, onTheme } from './theme.js';

const HEIGHT_PX = 300;
const TICK_HALF_PX = 28; // half of "999.9 ms", whose middle may be where the picture ends
const NAMES = {
    in_use_bytes: 'requested, resident',
    ...Object.fromEntries(SHEET.map(([field, name]) => [field, name])),
};

// Each series is the top of its band, and the highest comes first: the later ones are painted over it.
function stacked(model, fields) {
    const sums = model.snapshots.map(() => 0);
    const tops = fields.map((field) => model.snapshots.map((sheet, i) => (sums[i] += sheet[field])));
    return [model.snapshots.map((sheet) => sheet.time_ms / 1000), ...tops.reverse()];
}

function markLine(plot, x, style, dash) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = style;
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
}

function markLabel(plot, x, text) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillStyle = colour('text');
    const right = x + ctx.measureText(text).width + 8 * devicePixelRatio > bbox.left + bbox.width;
    ctx.textAlign = right ? 'right' : 'left';
    ctx.fillText(text, x + (right ? -6 : 6) * devicePixelRatio, bbox.top + 14 * devicePixelRatio);
    ctx.restore();
}

// A tick for each snapshot: what is between two of them is not known.
function drawTicks(plot, model) {
    const { ctx, bbox } = plot;
    ctx.fillStyle = colour('muted');
    for (const seconds of plot.data[0]) {
        const x = plot.valToPos(seconds, 'x', true);
        ctx.fillRect(x - devicePixelRatio / 2, bbox.top + bbox.height, devicePixelRatio, 5 * devicePixelRatio);
    }
}

function drawMarks(plot, model, selection) {
    const at = (index) => plot.valToPos(model.snapshots[index].time_ms / 1000, 'x', true);
    drawTicks(plot, model);
    markLine(plot, at(model.peak), colour('text'), [3, 4]);
    const peak = model.snapshots[model.peak][model.processKnown ? 'rss_bytes' : 'heap_rss_bytes'];
    markLabel(plot, at(model.peak), `peak ${bytesText(peak)}`);
    markLine(plot, at(selection.index), colour('accent'), []);
}

function axisStyle(extra) {
    return {
        stroke: () => colour('muted'),
        grid: { stroke: () => colour('line'), width: 1 },
        ticks: { stroke: () => colour('line'), width: 1 },
        font: '12px system-ui, sans-serif',
        ...extra,
    };
}

// Whole steps of 1024: 0, 8 MiB, 16 MiB
const BYTE_STEPS = Array.from({ length: 40 }, (_, power) => 2 ** (power + 8));

function options(model, fields, selection, width) {
    return {
        width,
        height: HEIGHT_PX,
        padding: [8, TICK_HALF_PX, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
        scales: { x: { time: false }, y: { range: (_, low, high) => [0, high * 1.08 || 1] } },
        axes: [
            axisStyle({ values: (_, ticks) => ticks.map(secondsTick) }),
            axisStyle({ size: 64, incrs: BYTE_STEPS, values: (_, ticks) => ticks.map(bytesTick) }),
        ],
        series: [
            {},
            ...[...fields].reverse().map((field) => ({
                label: NAMES[field],
                fill: () => colour(field),
                stroke: () => colour('card'),
                width: 1,
                points: { show: false },
            })),
        ],
        hooks: { draw: [(plot) => drawMarks(plot, model, selection)] },
    };
}

function nearest(plot, model, event) {
    const place = plot.over.getBoundingClientRect();
    const seconds = plot.posToVal(event.clientX - place.left, 'x');
    const distance = (sheet) => Math.abs(sheet.time_ms / 1000 - seconds);
    return model.snapshots.reduce(
        (best, sheet, index) => (distance(sheet) < distance(model.snapshots[best]) ? index : best),
        0,
    );
}

// The brush: from press to release the snapshot nearest to the pointer is the one shown.
function brushAttach(plot, model, selection) {
    let brushing = false;
    const brush = (event) => selection.set(nearest(plot, model, event));
    plot.over.addEventListener('pointerdown', (event) => {
        brushing = true;
        plot.over.setPointerCapture(event.pointerId);
        brush(event);
    });
    plot.over.addEventListener('pointermove', (event) => brushing && brush(event));
    for (const end of ['pointerup', 'pointercancel'])
        plot.over.addEventListener(end, () => {
            brushing = false;
        });
}

const KEYS = {
    ArrowLeft: (selection) => selection.index - 1,
    ArrowRight: (selection) => selection.index + 1,
    Home: () => 0,
    End: (selection, model) => model.snapshots.length - 1,
    p: (selection, model) => model.peak,
};

function sliderNode(model, selection) {
    return element('div', {
        class: 'plot',
        role: 'slider',
        tabindex: 0,
        'aria-label': 'Snapshot',
        'aria-valuemin': 1,
        'aria-valuemax': model.snapshots.length,
        title: '',
        on: {
            keydown(event) {
                if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
                event.preventDefault();
                selection.set(KEYS[event.key](selection, model));
            },
        },
    });
}

function legendNode(fields, sheet) {
    return fields.map((field) =>
        element(
            'li',
            {},
            element('span', { class: `swatch ${field}` }),
            NAMES[field],
            element('span', { class: 'value' }, bytesText(sheet[field])),
        ),
    );
}

function plotMount(slider, model, fields, selection) {
    let plot = null;
    onWidth(slider, (width) => {
        if (plot) return plot.setSize({ width, height: HEIGHT_PX });
        plot = new uPlot(options(model, fields, selection, width), stacked(model, fields), slider);
        brushAttach(plot, model, selection);
    });
    onTheme(() => plot?.redraw(false));
    selection.follow(() => plot?.redraw(false));
}

export function bandsMount(root, model, selection) {
    if (model.snapshots.length < 2)
        return fill(
            root,
            emptyNote(
                'One snapshot only.',
                'A recording takes one whenever resident memory reaches a new high: ' +
                    '`tarn run -- COMMAND`, then `tarn report` of what it recorded.',
            ),
        );
    const fields = BANDS.filter((field) => model.processKnown || field !== 'other_rss_bytes');
    const slider = sliderNode(model, selection);
    const legend = element('ul', { class: 'legend bands-legend' });
    fill(
        root,
        slider,
        legend,
        hint('Press or drag to choose a snapshot; the other pictures follow. Keys: ← → Home End, p for the peak.'),
    );
    plotMount(slider, model, fields, selection);
    selection.follow((index) => {
        const sheet = model.snapshots[index];
        slider.setAttribute('aria-valuenow', index + 1);
        slider.setAttribute(
            'aria-valuetext',
            `at ${secondsText(sheet.time_ms / 1000)}, ${bytesText(sheet.rss_bytes)} resident`,
        );
        fill(legend, legendNode([...fields].reverse(), sheet));
    });
}
