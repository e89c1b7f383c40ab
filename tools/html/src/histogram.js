// tools/html/src/histogram.js - what sizes the program asks for, how much of them is rounding, and where more size
// classes would save some of it.
import { element, emptyNote, fill, hint, onWidth, svgElement } from './dom.js';
import { bytesText, bytesTick, countText, sizeText } from './format.js';
import { tooltipFor, tooltipLines } from './tooltip.js';

const HEIGHT_PX = 240;
const MARGIN = { left: 60, right: 30, top: 34, bottom: 28 };
const BINS_A_DOUBLING = 8; // as many as most classes have: a bar is a class or less
const SMALLEST_BYTES = 16;

// In bins, from 1 byte on
function placeOf(bytes) {
    return BINS_A_DOUBLING * Math.log2(bytes);
}

function binOf(bytes) {
    return Math.ceil(placeOf(Math.max(bytes, SMALLEST_BYTES)) - 1e-9);
}

function binAdd(bins, at, blocks, requested, rounding) {
    if (blocks === 0) return;
    const bin = bins.get(at) ?? { at, blocks: 0, requested: 0, rounding: 0 };
    bin.blocks += blocks;
    bin.requested += requested;
    bin.rounding += rounding;
    bins.set(at, bin);
}

// A program that frees all before it ends has no live block at its last snapshot; what it has allocated tells its sizes
// too.
function countedOf(model) {
    if (model.requestSizes.length === 0) return COUNTED.classes;
    return model.requestSizes.some((row) => row.live_blocks > 0) ? COUNTED.live : COUNTED.allocated;
}

const COUNTED = {
    classes: {
        title: 'Live bytes by request size',
        what: 'live blocks',
        source: 'Without samples: each size class is shown as one size.',
    },
    live: {
        title: 'Live bytes by request size',
        what: 'live blocks',
        source: 'From the samples that were live at the last snapshot.',
        blocks: 'live_blocks',
        bytes: 'live_bytes',
    },
    allocated: {
        title: 'Allocated bytes by request size',
        what: 'allocated blocks',
        source: 'No sample was live at the last snapshot: from those of all that was allocated since the start.',
        blocks: 'allocated_blocks',
        bytes: 'allocated_bytes',
    },
};

// The requests of the samples where there are some; else each class is one size. Large blocks have no class to round
// to.
function binsOf(counted, sizes, classes) {
    const bins = new Map();
    if (counted === COUNTED.classes)
        for (const row of classes)
            binAdd(bins, binOf(row.block_bytes), row.live_blocks, row.requested_bytes, row.rounding_bytes);
    else
        for (const row of sizes) {
            const [blocks, bytes] = [row[counted.blocks], row[counted.bytes]];
            binAdd(bins, binOf(row.to_bytes), blocks, bytes, Math.max(0, blocks * row.block_bytes - bytes));
        }
    return [...bins.values()].sort((a, b) => a.at - b.at);
}

function scalesFor(bins, whatIf, width) {
    const lows = [...bins.map((bin) => bin.at), ...whatIf.map((gain) => placeOf(gain.from_bytes - 1))];
    const highs = bins.map((bin) => bin.at);
    const low = Math.floor((Math.min(...lows) - 1) / BINS_A_DOUBLING) * BINS_A_DOUBLING;
    const high = Math.ceil(Math.max(low + BINS_A_DOUBLING, ...highs) / BINS_A_DOUBLING) * BINS_A_DOUBLING;
    const most = Math.max(1, ...bins.map((bin) => bin.requested + bin.rounding));
    const inner = width - MARGIN.left - MARGIN.right;
    const tall = HEIGHT_PX - MARGIN.top - MARGIN.bottom;
    return {
        low,
        high,
        most,
        x: (at) => MARGIN.left + (inner * (at - low)) / (high - low),
        y: (bytes) => MARGIN.top + tall * (1 - bytes / most),
        bar: inner / (high - low),
        doublingsATick: Math.ceil((high - low) / BINS_A_DOUBLING / (inner / 56)),
    };
}

function axisX(scales) {
    const ticks = [];
    for (let at = scales.low; at <= scales.high; at += BINS_A_DOUBLING * scales.doublingsATick)
        ticks.push(
            svgElement(
                'text',
                { x: scales.x(at), y: HEIGHT_PX - 8, 'text-anchor': 'middle' },
                sizeText(2 ** (at / BINS_A_DOUBLING)),
            ),
        );
    return ticks;
}

function axisY(scales, width) {
    const step = 2 ** Math.floor(Math.log2(scales.most / 2));
    const ticks = [];
    for (let bytes = 0; bytes <= scales.most; bytes += step)
        ticks.push(
            svgElement('line', {
                class: 'grid',
                x1: MARGIN.left,
                x2: width - MARGIN.right,
                y1: scales.y(bytes),
                y2: scales.y(bytes),
            }),
            svgElement('text', { x: MARGIN.left - 8, y: scales.y(bytes) + 4, 'text-anchor': 'end' }, bytesTick(bytes)),
        );
    return ticks;
}

function binDetails(bin, what) {
    return tooltipLines(`Requests up to ${countText(2 ** (bin.at / BINS_A_DOUBLING))} B`, [
        [what, countText(bin.blocks)],
        ['requested', bytesText(bin.requested)],
        ['rounding', bytesText(bin.rounding)],
    ]);
}

function barNode(bin, scales, what) {
    const amounts = `${bytesText(bin.requested)} requested, ${bytesText(bin.rounding)} rounding`;
    const x = scales.x(bin.at - 1);
    const width = Math.max(2, scales.bar - 1);
    const top = scales.y(bin.requested + bin.rounding);
    const middle = scales.y(bin.requested);
    const node = svgElement(
        'g',
        {
            class: 'bin',
            tabindex: 0,
            role: 'img',
            'aria-label': `up to ${countText(2 ** (bin.at / BINS_A_DOUBLING))} bytes: ${amounts}`,
        },
        svgElement('rect', { class: 'catch', x, width, y: MARGIN.top, height: HEIGHT_PX - MARGIN.top - MARGIN.bottom }),
        svgElement('rect', { class: 'requested_bytes', x, width, y: middle, height: scales.y(0) - middle }),
        svgElement('rect', { class: 'rounding_bytes', x, width, y: top, height: middle - top }),
    );
    tooltipFor(node, () => binDetails(bin, what));
    return node;
}

// A bracket over the range, with what it would save. A range begins behind the end of the one before: at 1025, not
// 1024.
function gainNode(gain, scales) {
    const from = scales.x(placeOf(gain.from_bytes - 1));
    const to = scales.x(placeOf(gain.to_bytes));
    const y = MARGIN.top - 8;
    return svgElement(
        'g',
        { class: 'gain' },
        svgElement('path', { d: `M${from} ${y + 5}V${y}H${to}v5` }),
        svgElement(
            'text',
            { x: (from + to) / 2, y: y - 5, 'text-anchor': 'middle' },
            `−${bytesText(gain.saved_bytes)}`,
        ),
    );
}

function gainText(gain) {
    const range = `${sizeText(gain.from_bytes - 1)} to ${sizeText(gain.to_bytes)}`;
    const unit = gain.to_bytes === 2 * (gain.from_bytes - 1) ? ' a doubling' : '';
    const change = `${gain.saved_bytes > 0 ? '−' : '+'}${bytesText(Math.abs(gain.saved_bytes))}`;
    return `${range}: with ${gain.classes} classes${unit} here instead of ${gain.classes_now}: ${change}`;
}

function pictureNode(bins, gains, width, what) {
    const scales = scalesFor(bins, gains, width);
    return svgElement(
        'svg',
        { class: 'histogram', width, height: HEIGHT_PX, viewBox: `0 0 ${width} ${HEIGHT_PX}` },
        axisY(scales, width),
        axisX(scales),
        bins.map((bin) => barNode(bin, scales, what)),
        gains.map((gain) => gainNode(gain, scales)),
    );
}

function whatIfNode(whatIf) {
    if (whatIf.length === 0) return hint('Other numbers of size classes would change next to nothing.');
    return [
        element('h3', {}, 'What if'),
        element(
            'ul',
            { class: 'whatif' },
            whatIf.map((gain) => element('li', {}, gainText(gain))),
        ),
    ];
}

export function histogramMount(root, model, selection) {
    const counted = countedOf(model);
    const gains = model.whatIf.filter((gain) => gain.saved_bytes > 0);
    const picture = element('div', { class: 'picture' });
    const legend = element(
        'ul',
        { class: 'legend' },
        element('li', {}, element('span', { class: 'swatch requested_bytes' }), 'requested'),
        element('li', {}, element('span', { class: 'swatch rounding_bytes' }), 'rounding'),
    );
    fill(
        root,
        element('h3', {}, counted.title),
        legend,
        picture,
        hint(counted.source),
        counted === COUNTED.live ? whatIfNode(model.whatIf) : null,
    );
    let width = 0;
    const show = () => {
        const bins = binsOf(counted, model.requestSizes, model.snapshots[selection.index].classes);
        if (width > 0)
            fill(picture, bins.length > 0 ? pictureNode(bins, gains, width, counted.what) : emptyNote('No block is live.'));
    };
    selection.follow(show);
    onWidth(picture, (now) => {
        width = now;
        show();
    });
}
