// tools/html/src/heapmap.js - the heap, a cell a page: a row a size class, pages in the order of their addresses.
//
//      512 B  [][][][][][][][][]      colour: how much of the page live blocks fill
//             [][][][]                height: how much of the page is resident
//     1280 B  [][][][][][]            hatched: resident, and no live block in it
//    > 256 K  [][][]                  blocks with pages of their own
//    no block [][][][]                pages without a class
//
// Short rows stand side by side: a program may use a hundred classes. Rows keep their place in every snapshot: going
// through time, only the cells change. When there are more pages than room, a cell stands for a few neighbours of one
// row. Of a large heap the recording itself holds one page of a few (`pages_a_cell`): each of those counts for all of its few.
import { element, emptyNote, fill, hint, linkButton, onWidth } from './dom.js';
import { bytesText, countText, plural, secondsText, shareText, sizeText } from './format.js';
import { stackTitle } from './stacks.js';
import { colour, onTheme } from './theme.js';
import { tooltipHide, tooltipLines, tooltipShow } from './tooltip.js';

const GUTTER_PX = 74;
const ROW_GAP_PX = 7;
const SLOT_PX = 230; // a short row: its label and eleven cells at their largest
const LABEL_PX = 12;
const CELL_SIZES_PX = [14, 12, 10, 8]; // below 8 a cell is hard to hit
const HEIGHT_MOST_PX = 960; // a tall screen: past that, cells stand for more pages ...
const CELLS_LEAST_PX = 480; // ... unless it is the number of rows that makes it tall
const STEPS = [0.1, 0.25, 0.5, 0.75]; // where the colours of occupancy part
const SURVIVORS_SHOWN = 4;

export const GENERATIONS = ['young', 'middle', 'old'];

function stepOf(occupancy) {
    const step = STEPS.findIndex((limit) => occupancy < limit);
    return step < 0 ? STEPS.length : step;
}

// --- what there is to draw -------------------------------------------------------------------------------------------

const LARGE = 1e15;
const FREE = 2e15; // where those rows stand among the block sizes: below them

function rowKey(row) {
    return row.kind === 'large' ? LARGE : row.kind === 'free' || row.block_bytes === 0 ? FREE : row.block_bytes;
}

function rowName(key) {
    return key === FREE ? 'no block' : key === LARGE ? 'large' : sizeText(key);
}

// How many pages each entry of the row stands for.
function pagesEach(row) {
    return row.pages_a_cell ?? 1;
}

function rowsOf(snapshots) {
    return snapshots.flatMap((sheet) => sheet.map ?? []);
}

// The most pages of each row in any snapshot, by its key, from top to bottom.
function rowsMost(snapshots) {
    const most = new Map();
    for (const row of rowsOf(snapshots))
        most.set(rowKey(row), Math.max(most.get(rowKey(row)) ?? 0, row.pages.length * pagesEach(row)));
    return [...most].filter(([, pages]) => pages > 0).sort(([a], [b]) => a - b);
}

// Rows are placed one below the other; short ones side by side, as many as there are slots.
class Placing {
    constructor(width, cell) {
        Object.assign(this, { width, cell, slots: Math.max(2, Math.floor(width / SLOT_PX)), slot: 0, top: 0 });
        this.slotWidth = Math.floor(width / this.slots);
    }

    lineEnd() {
        if (this.slot > 0) this.top += Math.max(this.cell, LABEL_PX) + ROW_GAP_PX;
        this.slot = 0;
    }

    place(key, cells) {
        if (GUTTER_PX + cells * this.cell > this.slotWidth) return this.placeLong(key, cells);
        const place = { key, left: this.slot * this.slotWidth + GUTTER_PX, top: this.top, columns: cells, lines: 1 };
        this.slot++;
        if (this.slot === this.slots) this.lineEnd();
        return place;
    }

    placeLong(key, cells) {
        this.lineEnd();
        const columns = Math.max(1, Math.floor((this.width - GUTTER_PX) / this.cell));
        const lines = Math.ceil(cells / columns);
        const place = { key, left: GUTTER_PX, top: this.top, columns, lines };
        this.top += Math.max(lines * this.cell, LABEL_PX) + ROW_GAP_PX;
        return place;
    }
}

function layoutTry(rows, width, cell, group) {
    const placing = new Placing(width, cell);
    const places = rows.map(([key, pages]) => placing.place(key, Math.ceil(pages / group)));
    placing.lineEnd();
    return { cell, group, places, height: placing.top };
}

// `coarsest`: pages that an entry stands for, at most. No cell is of fewer: so a row has the same cells at all times.
function layoutFor(rows, coarsest, width) {
    const pagesMost = Math.max(...rows.map(([, pages]) => pages));
    const least = layoutTry(rows, width, CELL_SIZES_PX[CELL_SIZES_PX.length - 1], pagesMost).height;
    const most = Math.max(HEIGHT_MOST_PX, least + CELLS_LEAST_PX);
    for (let group = coarsest; ; group *= 2)
        for (const cell of CELL_SIZES_PX) {
            const layout = layoutTry(rows, width, cell, group);
            if (layout.height <= most || group >= pagesMost) return layout;
        }
}

// Live blocks fill a page of a class by their number; a large block fills its own.
function liveBytes(row, live, size) {
    return rowKey(row) === LARGE ? (live > 0 ? size : 0) : live * row.block_bytes;
}

function cellOf(row, first, count) {
    const cell = { row, first, pages: 0, live_blocks: 0, live_bytes: 0, resident_bytes: 0, page_bytes: 0, samples: [] };
    const each = pagesEach(row);
    row.pages.slice(first, first + count).forEach(([live, resident, samples], i) => {
        const size = row.sizes?.[first + i] ?? row.page_bytes;
        cell.pages += each;
        cell.live_blocks += live * each;
        cell.live_bytes += liveBytes(row, live, size) * each;
        cell.resident_bytes += resident * each;
        cell.page_bytes += size * each;
        cell.samples.push(...(samples ?? []));
    });
    cell.occupancy = cell.live_bytes / cell.page_bytes;
    return cell;
}

function cellsOf(map, layout) {
    const places = new Map(layout.places.map((place) => [place.key, place]));
    return map.flatMap((row) => {
        const place = places.get(rowKey(row));
        const cells = [],
            count = Math.max(1, Math.floor(layout.group / pagesEach(row)));
        for (let first = 0; first < row.pages.length; first += count) {
            const cell = cellOf(row, first, count);
            cell.x = place.left + (cells.length % place.columns) * layout.cell;
            cell.y = place.top + Math.floor(cells.length / place.columns) * layout.cell;
            cells.push(cell);
        }
        return cells;
    });
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function hatching(context) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 4 * devicePixelRatio;
    const pen = tile.getContext('2d');
    pen.scale(devicePixelRatio, devicePixelRatio);
    pen.strokeStyle = colour('retained_bytes');
    pen.lineWidth = 1.2;
    pen.beginPath();
    for (const shift of [-4, 0, 4]) {
        pen.moveTo(shift, 4);
        pen.lineTo(shift + 4, 0);
    }
    pen.stroke();
    return context.createPattern(tile, 'repeat');
}

function paletteNow(context) {
    return {
        steps: [...STEPS, 1].map((_, step) => colour(`occupancy-${step}`)),
        hatch: hatching(context),
        line: colour('line'),
        text: colour('muted'),
        kept: colour('retained_bytes'),
        focus: colour('accent'),
    };
}

function cellDraw(context, cell, size, palette) {
    const side = size - 1;
    context.strokeStyle = palette.line;
    if (cell.resident_bytes < cell.page_bytes) context.strokeRect(cell.x + 0.5, cell.y + 0.5, side - 1, side - 1);
    const height = Math.min(
        side,
        Math.max(cell.resident_bytes > 0 ? 3 : 0, (side * cell.resident_bytes) / cell.page_bytes),
    );
    context.fillStyle = cell.live_blocks > 0 ? palette.steps[stepOf(cell.occupancy)] : palette.hatch;
    context.fillRect(cell.x, cell.y + side - height, side, height);
    if (cell.live_blocks === 0 && cell.resident_bytes > 0) {
        context.strokeStyle = palette.kept;
        context.strokeRect(cell.x + 0.5, cell.y + 0.5, side - 1, side - 1);
    }
}

function labelsDraw(context, layout, palette) {
    context.font = '12px system-ui, sans-serif';
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    context.fillStyle = palette.text;
    for (const place of layout.places) {
        context.fillText(rowName(place.key), place.left - 12, place.top + Math.max(layout.cell, LABEL_PX) / 2);
        context.fillRect(place.left - 7, place.top, 1, place.lines * layout.cell - 1); // how far the row goes
    }
}

function canvasSize(canvas, width, height) {
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext('2d');
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    return context;
}

// --- what a cell tells -----------------------------------------------------------------------------------------------

function cellTitle(cell) {
    const each = pagesEach(cell.row),
        first = cell.first * each + 1,
        all = countText(cell.row.pages.length * each);
    const key = rowKey(cell.row);
    const noun = key === LARGE ? 'Large block' : 'Page';
    const which = cell.pages === 1 ? `${noun} ${first}` : `${noun}s ${first} to ${first + cell.pages - 1}`;
    if (key === LARGE) return `${which} of ${all}`;
    return key === FREE ? `${which} of ${all} kept for reuse` : `${which} of ${all} with ${sizeText(key)} blocks`;
}

function cellLines(cell) {
    const lines = [];
    if (rowKey(cell.row) < LARGE) {
        const slots = Math.floor(cell.row.page_bytes / cell.row.block_bytes) * cell.pages;
        lines.push([
            'live',
            `${countText(cell.live_blocks)} of ${plural(slots, 'block')} (${shareText(cell.live_blocks, slots)})`,
        ]);
    }
    lines.push(['resident', `${bytesText(cell.resident_bytes)} of ${sizeText(cell.page_bytes)}`]);
    const free = cell.resident_bytes - cell.live_bytes;
    if (free > 0 && cell.live_blocks > 0) lines.push(['free, resident', bytesText(free)]);
    return lines;
}

// The samples of the cell by call stack, most first: [[stack, [sample, ...]], ...]
function survivorsOf(cell, profile) {
    const byStack = new Map();
    for (const sample of cell.samples.map((index) => profile.samples[index]).filter(Boolean))
        byStack.set(sample[0], [...(byStack.get(sample[0]) ?? []), sample]);
    return [...byStack].sort(([, a], [, b]) => b.length - a.length);
}

function ageText([, requested, age, generation]) {
    const name = GENERATIONS[generation] ?? 'age unknown';
    return `${sizeText(requested)} asked for, ${name}: ${bytesText(age)} allocated since`;
}

// `show`: leads to the whole stack; null in a tooltip, which nobody can press.
function survivorNode([stack, samples], profile, show) {
    const oldest = samples.reduce((a, b) => (b[2] > a[2] ? b : a));
    const title = stackTitle(profile.stacks[stack]);
    return element(
        'li',
        {},
        show ? linkButton(title, () => show(stack)) : element('strong', {}, title),
        samples.length > 1 ? ` × ${samples.length}` : null,
        element('br'),
        ageText(oldest),
    );
}

function survivorsNode(cell, profile, show) {
    if (cell.live_blocks === 0) return element('p', {}, 'No block is live here: memory that is ready for reuse.');
    if (!profile) return element('p', {}, 'Recorded without a profile: who pins this page is not known.');
    const survivors = survivorsOf(cell, profile);
    if (survivors.length === 0) return element('p', {}, 'None of its live blocks is a sample.');
    const more = survivors.length - SURVIVORS_SHOWN;
    return [
        element('p', {}, 'Pinned by'),
        element(
            'ul',
            {},
            survivors.slice(0, SURVIVORS_SHOWN).map((survivor) => survivorNode(survivor, profile, show)),
            more > 0 ? element('li', {}, `and ${plural(more, 'call stack')} more`) : null,
        ),
    ];
}

function cellContent(cell, profile, show = null) {
    return [tooltipLines(cellTitle(cell), cellLines(cell)), survivorsNode(cell, profile, show)];
}

// --- the picture -----------------------------------------------------------------------------------------------------

function legendNode(layout) {
    const limits = [0, ...STEPS, 1];
    const swatches = limits
        .slice(1)
        .map((limit, step) =>
            element(
                'li',
                {},
                element('span', { class: 'swatch', style: { background: `var(--occupancy-${step})` } }),
                `${step === 0 ? 'under ' : `${100 * limits[step]}–`}${100 * limit} %`,
            ),
        );
    return element(
        'ul',
        { class: 'legend' },
        element(
            'li',
            { class: 'of' },
            `A cell is ${layout.group === 1 ? 'a page' : `${layout.group} pages`}. Filled by live blocks:`,
        ),
        swatches,
        element('li', {}, element('span', { class: 'swatch hatched' }), 'resident, no live block'),
        element('li', {}, element('span', { class: 'swatch partly' }), 'resident in part'),
    );
}

// The snapshot to draw: the nearest one that has a map.
function mapIndex(model, index) {
    const has = model.snapshots.flatMap((sheet, i) => (sheet.map ? [i] : []));
    return has.reduce((best, other) => (Math.abs(other - index) < Math.abs(best - index) ? other : best));
}

function noteText(model, index, shown) {
    return index === shown
        ? ''
        : `This snapshot has no map: the nearest is shown, at ${secondsText(model.snapshots[shown].time_ms / 1000)}.`;
}

class HeapMap {
    constructor(root, model, selection) {
        this.model = model;
        this.selection = selection;
        this.rows = rowsMost(model.snapshots);
        this.coarsest = Math.max(1, ...rowsOf(model.snapshots).map(pagesEach));
        this.canvas = element('canvas', {
            tabindex: 0,
            role: 'application',
            'aria-roledescription': 'heap map',
            'aria-label': 'Heap map, a cell a page. Arrow keys move from page to page.',
            'aria-describedby': 'heapmap-details',
        });
        this.frame = element('div', { class: 'mapframe' }, this.canvas);
        this.legend = element('div');
        this.note = hint();
        this.details = element('div', { id: 'heapmap-details', class: 'details', 'aria-live': 'polite' });
        this.chosen = null;
        fill(root, this.legend, this.frame, this.note, this.details);
        this.listen();
    }

    resize(width) {
        this.width = width;
        this.layout = layoutFor(this.rows, this.coarsest, width);
        fill(this.legend, legendNode(this.layout));
        this.choose(null);
        this.show(this.index);
    }

    show(index) {
        this.index = index;
        if (!this.layout) return;
        const shown = mapIndex(this.model, index);
        this.cells = cellsOf(this.model.snapshots[shown].map, this.layout);
        this.note.textContent = noteText(this.model, index, shown);
        this.canvas.dataset.shown = shown;
        this.choose(this.cells.indexOf(this.cellLike(this.chosen)));
    }

    // The same page, or what has its place now.
    cellLike(chosen) {
        return chosen && this.cells.find((cell) => cell.x === chosen.x && cell.y === chosen.y);
    }

    draw() {
        const context = canvasSize(this.canvas, this.width, this.layout.height);
        const palette = paletteNow(context);
        labelsDraw(context, this.layout, palette);
        for (const cell of this.cells) cellDraw(context, cell, this.layout.cell, palette);
        if (!this.chosen) return;
        context.strokeStyle = palette.focus;
        context.lineWidth = 2;
        context.strokeRect(this.chosen.x - 1, this.chosen.y - 1, this.layout.cell + 1, this.layout.cell + 1);
    }

    choose(number) {
        this.chosen = number === null || number < 0 ? null : this.cells[number];
        fill(
            this.details,
            this.chosen
                ? cellContent(this.chosen, this.model.profile, (stack) => this.selection.showStack(stack))
                : hint('Point at a page, or choose one: it says who keeps it.'),
        );
        if (this.cells) this.draw();
    }

    at(event) {
        const place = this.canvas.getBoundingClientRect();
        const x = event.clientX - place.left,
            y = event.clientY - place.top,
            size = this.layout.cell;
        return this.cells.findIndex((cell) => x >= cell.x && x < cell.x + size && y >= cell.y && y < cell.y + size);
    }

    hover(event) {
        const number = event.pointerType === 'touch' ? -1 : this.at(event);
        if (number < 0) return tooltipHide();
        tooltipShow(event.clientX, event.clientY, cellContent(this.cells[number], this.model.profile));
    }

    // Up and down: the nearest cell in the line above or below.
    beside(step) {
        const { x, y } = this.chosen;
        const lines = [...new Set(this.cells.map((cell) => cell.y))].sort((a, b) => a - b);
        const line = lines[lines.indexOf(y) + step];
        const inLine = this.cells.filter((cell) => cell.y === line);
        return inLine.length === 0
            ? this.chosen
            : inLine.reduce((best, cell) => (Math.abs(cell.x - x) < Math.abs(best.x - x) ? cell : best));
    }

    key(event) {
        const now = this.chosen ? this.cells.indexOf(this.chosen) : -1;
        const last = this.cells.length - 1;
        const moves = {
            ArrowRight: () => Math.min(last, now + 1),
            ArrowLeft: () => Math.max(0, now - 1),
            ArrowDown: () => (now < 0 ? 0 : this.cells.indexOf(this.beside(1))),
            ArrowUp: () => (now < 0 ? 0 : this.cells.indexOf(this.beside(-1))),
            Home: () => 0,
            End: () => last,
            Escape: () => null,
        };
        if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        this.choose(moves[event.key]());
    }

    listen() {
        this.canvas.addEventListener('pointermove', (event) => this.hover(event));
        this.canvas.addEventListener('pointerleave', tooltipHide);
        this.canvas.addEventListener('click', (event) => this.choose(this.at(event)));
        this.canvas.addEventListener('keydown', (event) => this.key(event));
    }
}

export function heapMapMount(root, model, selection) {
    if (!model.snapshots.some((sheet) => sheet.map?.length > 0))
        return fill(
            root,
            emptyNote(
                'No heap map.',
                'It is part of a recording: `tarn run -- COMMAND`, then `tarn report` of what it recorded.',
            ),
        );
    const map = new HeapMap(root, model, selection);
    selection.follow((index) => map.show(index));
    onWidth(map.frame, (width) => map.resize(width));
    onTheme(() => map.cells && map.draw());
}
