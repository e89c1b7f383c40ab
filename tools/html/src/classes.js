// tools/html/src/classes.js - the size classes and what each of them wastes.
import { SHEET, WASTES } from './data.js';
import { element, emptyNote, fill, hint, quietButton, segmented, tableHead } from './dom.js';
import { bytesText, countText, shareText, sizeText } from './format.js';
import { tooltipFor, tooltipLines } from './tooltip.js';

const SHOWN = 12;
const NAMES = Object.fromEntries(SHEET.map(([field, name]) => [field, name]));

const ORDERS = {
    waste: (a, b) => b.waste_bytes - a.waste_bytes || b.live_blocks - a.live_blocks,
    size: (a, b) => a.block_bytes - b.block_bytes,
};

function wasteBar(row, most) {
    return element(
        'span',
        { class: 'wastebar', 'aria-hidden': 'true' },
        WASTES.map((field) =>
            element('span', {
                class: `bar ${field}`,
                style: { width: `${(100 * row[field]) / most}%` },
            }),
        ),
    );
}

function rowDetails(row) {
    const lines = [
        ['pages', `${countText(row.pages)} of ${sizeText(row.page_bytes)}`],
        ['live blocks', countText(row.live_blocks)],
        ['requested', bytesText(row.requested_bytes)],
        ...WASTES.map((field) => [NAMES[field], bytesText(row[field])]),
    ];
    return tooltipLines(`${sizeText(row.block_bytes)} blocks`, lines);
}

function rowNode(row, most) {
    const cells = [
        element('th', { scope: 'row' }, sizeText(row.block_bytes)),
        element('td', { class: 'wide' }, countText(row.pages)),
        element('td', { class: 'wide' }, countText(row.live_blocks)),
        element('td', {}, `${row.occupancy_percent} %`),
        element('td', { class: 'waste' }, wasteBar(row, most)),
        element('td', {}, bytesText(row.waste_bytes)),
    ];
    const node = element('tr', { tabindex: 0 }, cells);
    tooltipFor(node, () => rowDetails(row));
    return node;
}

const HEADS = [
    ['block', ''],
    ['pages', 'wide'],
    ['live blocks', 'wide'],
    ['filled', ''],
    ['wasted', 'waste'],
    ['', ''],
];

function legendNode() {
    return element(
        'ul',
        { class: 'legend' },
        WASTES.map((field) => element('li', {}, element('span', { class: `swatch ${field}` }), NAMES[field])),
    );
}

function sumText(rows) {
    const waste = rows.reduce((sum, row) => sum + row.waste_bytes, 0);
    const pages = rows.reduce((sum, row) => sum + row.pages * row.page_bytes, 0);
    return `${bytesText(waste)} wasted in ${rows.length} classes in use, ${shareText(waste, pages)} of their pages.`;
}

export function classesMount(root, model, selection) {
    if (!model.snapshots.some((sheet) => sheet.classes.length > 0))
        return fill(root, emptyNote('No size classes in this report.'));
    const state = { order: 'waste', all: false };
    const body = element('tbody');
    const sum = hint();
    const more = quietButton('', () => {
        state.all = !state.all;
        show();
    });
    const show = () => {
        const rows = model.snapshots[selection.index].classes.filter((row) => row.pages > 0 || row.live_blocks > 0);
        const most = Math.max(1, ...rows.map((row) => row.waste_bytes));
        const shown = [...rows]
            .sort(ORDERS.waste)
            .slice(0, state.all ? rows.length : SHOWN)
            .sort(ORDERS[state.order]);
        fill(
            body,
            shown.map((row) => rowNode(row, most)),
        );
        sum.textContent = sumText(rows);
        more.hidden = rows.length <= SHOWN;
        more.textContent = state.all ? `Only the ${SHOWN} worst` : `All ${rows.length}`;
    };
    const orders = segmented(
        'Order',
        [
            ['waste', 'by waste'],
            ['size', 'by size'],
        ],
        state.order,
        (order) => {
            state.order = order;
            show();
        },
    );
    fill(
        root,
        element('div', { class: 'bar-of-tools' }, orders, legendNode()),
        element('table', { class: 'classes' }, tableHead(HEADS), body),
        more,
        sum,
    );
    selection.follow(show);
}
