// tools/html/src/processes.js - the processes of a run, when there were more than the one that the page is about.
import { element, fill, hint, tableHead } from './dom.js';
import { bytesText } from './format.js';

const HEADS = [
    ['process', ''],
    ['peak rss', 'number'],
    ['rss', 'number'],
    ['live', 'number wide'],
    ['ended by', 'wide'],
    ['verdict', 'wide sentence'],
];

function rowNode(row, own) {
    return element(
        'tr',
        { class: own ? 'chosen' : null },
        element('th', { scope: 'row' }, row.program ?? '?', element('small', {}, `pid ${row.pid ?? '?'}`)),
        element('td', { class: 'number' }, bytesText(Number(row.peak_rss_bytes) || 0)),
        element('td', { class: 'number' }, bytesText(Number(row.rss_bytes) || 0)),
        element('td', { class: 'number wide' }, bytesText(Number(row.live_bytes) || 0)),
        element('td', { class: 'wide' }, row.became ? `exec: ${row.became}` : (row.ended_by ?? '')),
        element('td', { class: 'wide sentence' }, row.verdict ?? ''),
    );
}

export function processesMount(card, root, report) {
    const rows = report.processes ?? [];
    card.hidden = rows.length < 2;
    fill(
        root,
        element(
            'table',
            { class: 'stacks' },
            tableHead(HEADS),
            element(
                'tbody',
                {},
                rows.map((row) => rowNode(row, row.pid === report.pid)),
            ),
        ),
        hint('The page is about the marked one; the others have recordings of their own.'),
    );
}
