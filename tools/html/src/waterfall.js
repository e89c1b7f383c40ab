// tools/html/src/waterfall.js - from what was asked for to what is resident: a bar a cause, each where the one before
// ends.
import { SHEET } from './data.js';
import { element, fill } from './dom.js';
import { bytesText, shareText } from './format.js';
import { tooltipFor, tooltipLines } from './tooltip.js';

// [{field, name, sign, meaning, from, to, bytes}]: each bar's ends on the common scale
export function waterfallRows(sheet, processKnown) {
    let level = 0;
    const rows = SHEET.filter(([field]) => processKnown || (field !== 'rss_bytes' && field !== 'other_rss_bytes'));
    return rows.map(([field, name, sign, meaning]) => {
        const bytes = sheet[field];
        const before = sign === 0 ? 0 : level;
        level = sign === 0 ? bytes : level + sign * bytes;
        return { field, name, sign, meaning, bytes, from: Math.min(before, level), to: Math.max(before, level) };
    });
}

function valueText(row, sheet) {
    const text = (row.sign < 0 && row.bytes > 0 ? '−' : '') + bytesText(row.bytes);
    return row.field === 'requested_bytes' && sheet.requested_error_bytes > 0 ? `≈ ${text}` : text;
}

function rowDetails(row, sheet) {
    const lines = [['bytes', row.bytes.toLocaleString('en-US')]];
    if (sheet.heap_rss_bytes > 0 && row.field !== 'rss_bytes' && row.field !== 'other_rss_bytes')
        lines.push(['of the heap', shareText(row.bytes, sheet.heap_rss_bytes)]);
    if (row.field === 'requested_bytes' && sheet.requested_error_bytes > 0)
        lines.push(['95 % interval', `± ${bytesText(sheet.requested_error_bytes)}`]);
    return tooltipLines(row.name, lines, row.meaning);
}

function rowNode(row, sheet, scale) {
    const bar = element('span', {
        class: `bar ${row.field}`,
        style: { left: `${(100 * row.from) / scale}%`, width: `${(100 * (row.to - row.from)) / scale}%` },
    });
    const sign = row.sign === 0 ? '= ' : row.sign < 0 ? '− ' : '';
    const node = element(
        'li',
        {
            class: `row${row.sign === 0 ? ' sum' : ''}${row.bytes === 0 ? ' none' : ''}`,
            tabindex: 0,
            'data-field': row.field,
            'aria-label': `${row.name}: ${valueText(row, sheet)}. ${row.meaning}`,
        },
        element('span', { class: 'name' }, element('span', { class: 'sign', 'aria-hidden': 'true' }, sign), row.name),
        element('span', { class: 'track', 'aria-hidden': 'true' }, bar),
        element('span', { class: 'value' }, valueText(row, sheet)),
        element(
            'span',
            { class: 'share' },
            row.field.endsWith('rss_bytes') ? '' : shareText(row.bytes, sheet.heap_rss_bytes),
        ),
    );
    tooltipFor(node, () => rowDetails(row, sheet));
    return node;
}

export function waterfallMount(root, model, selection) {
    const list = element('ol', { class: 'waterfall' });
    // One scale for all snapshots: going through them, a bar that grows is memory that grows.
    const scale = Math.max(
        1,
        ...model.snapshots.flatMap((sheet) => waterfallRows(sheet, model.processKnown).map((row) => row.to)),
    );
    const verdict = element('p', { class: 'hint', id: 'waterfall-verdict' });
    fill(root, list, verdict);
    selection.follow((index) => {
        const sheet = model.snapshots[index];
        fill(
            list,
            waterfallRows(sheet, model.processKnown).map((row) => rowNode(row, sheet, scale)),
        );
        verdict.textContent = sheet.verdict && index !== model.last ? `At this snapshot: ${sheet.verdict}` : '';
    });
}
