// tools/html/src/flame.js - call stacks: a flame graph by pinned, rounding, live or allocated bytes, the stacks that
// have most of them, and one stack in full.
import flamegraph from 'd3-flame-graph';
import { select } from 'd3-selection';
import { METRICS } from './data.js';
import { element, emptyNote, fill, hint, linkButton, onWidth, quietButton, segmented, tableHead } from './dom.js';
import { bytesText, countText, plural, secondsText, shareText, sizeText } from './format.js';
import { callersText, framePlace, moduleName, sitesOf, stackTitle, stacksBy, treeOf } from './stacks.js';
import { tooltipHide, tooltipLines, tooltipShow } from './tooltip.js';

const ROW_PX = 22;
const FRAME_LEAST_PX = 1.5; // narrower ones could not be seen; they are in the table
const ZOOM_MS = matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 200;
const SITES_SHOWN = 10;
const OTHERS_SHOWN = 5;
const HUES = 7;

const metricName = Object.fromEntries(METRICS.map(([field, name]) => [field, name]));

function searchFits(node, term) {
    return term !== '' && `${node.data.name} ${framePlace(node.data.frame)}`.toLowerCase().includes(term.toLowerCase());
}

function hue(module) {
    return `var(--flame-${module % HUES})`;
}

// A hue a module: what is the program's own is told from libraries at a glance.
function frameColour(node) {
    if (node.highlight) return 'var(--found)';
    const module = node.data.frame?.module;
    return Number.isInteger(module) ? hue(module) : 'var(--flame-none)';
}

// --- one stack in full -----------------------------------------------------------------------------------------------

function frameNode(profile, number) {
    const frame = profile.frames[number];
    const place = [framePlace(frame), moduleName(profile, frame)].filter(Boolean).join(', ');
    return element(
        'li',
        {},
        element('code', {}, frame?.function ?? '?'),
        frame?.inlined ? ' (inlined)' : null,
        place ? element('span', { class: 'place' }, ` ${place}`) : null,
    );
}

function generationsText(stack) {
    const parts = ['young', 'middle', 'old'].map((name) => [name, Number(stack[`${name}_blocks`]) || 0]);
    const sum = parts.reduce((total, [, blocks]) => total + blocks, 0);
    return sum > 0 ? parts.map(([name, blocks]) => `${shareText(blocks, sum)} ${name}`).join(', ') : null;
}

// Of the blocks that were freed; nothing where none was.
function youngText(stack) {
    return stack.frames.length > 0 && stack.freed_blocks > 0 ? `${stack.died_young_percent} %` : '';
}

function stackFigures(profile, stack, index) {
    const figures = METRICS.map(([field, name]) => [
        name,
        bytesText(profile.bytes(stack, field, profile.momentOf(field, index))),
    ]);
    if (stack.live_error_bytes > 0) figures.push(['live, 95 % interval', `± ${bytesText(stack.live_error_bytes)}`]);
    const ages = generationsText(stack);
    if (ages) figures.push(['blocks’ ages', ages]);
    if (youngText(stack)) figures.push(['freed while young', youngText(stack)]);
    if (profile.threads[stack.thread]?.name) figures.push(['thread', profile.threads[stack.thread].name]);
    if (stack.samples) figures.push(['samples', countText(stack.samples)]);
    return figures;
}

function neighboursNode(profile, stack) {
    const rows = (stack.neighbours ?? []).filter(([other]) => profile.stacks[other]);
    if (rows.length === 0) return null;
    return [
        element('h4', {}, 'Its survivors lie among freed blocks of'),
        element(
            'ul',
            {},
            rows.map(([other, bytes]) => element('li', {}, stackTitle(profile.stacks[other]), ` ${bytesText(bytes)}`)),
        ),
    ];
}

// The other stacks of the same call site, most first; `show` leads to one.
function othersNode(stack, others, show) {
    const rest = others.filter(([other]) => other !== stack);
    if (rest.length === 0) return null;
    return [
        element('h4', {}, `The call site has ${plural(rest.length, 'other stack')}`),
        element(
            'ul',
            {},
            rest.slice(0, OTHERS_SHOWN).map(([other, bytes]) =>
                element(
                    'li',
                    {},
                    linkButton(`stack ${other.index + 1}`, () => show(other)),
                    ` ${bytesText(bytes)}`,
                ),
            ),
        ),
    ];
}

function stackNode(profile, stack, index) {
    return [
        element('h3', {}, stackTitle(stack)),
        element(
            'dl',
            { class: 'figures' },
            stackFigures(profile, stack, index).map(([name, value]) =>
                element('div', {}, element('dt', {}, name), element('dd', {}, value)),
            ),
        ),
        element(
            'ol',
            { class: 'frames' },
            stack.frames.map((number) => frameNode(profile, number)),
        ),
        neighboursNode(profile, stack),
    ];
}

// --- the picture -----------------------------------------------------------------------------------------------------

function nodeTooltip(graph, node) {
    const { frame, stacks } = node.data;
    const lines = [
        [metricName[graph.metric], bytesText(node.data.value)],
        ['of all', shareText(node.data.value, graph.total)],
    ];
    if (framePlace(frame)) lines.push(['at', framePlace(frame)]);
    if (moduleName(graph.profile, frame)) lines.push(['in', moduleName(graph.profile, frame)]);
    const notes = [
        frame?.inlined ? 'Inlined.' : '',
        stacks.length > 0 && !frame && node.depth > 0 ? 'Not charged to any sample.' : '',
    ];
    return tooltipLines(node.data.name, lines, notes.filter(Boolean).join(' '));
}

// Which hue is which module: the program's own first.
function modulesNode(profile) {
    const used = new Set(
        profile.stacks.flatMap((stack) => stack.frames.map((number) => profile.frames[number]?.module)),
    );
    const numbers = [...used].filter((module) => profile.modules[module]).sort((a, b) => a - b);
    return element(
        'ul',
        { class: 'legend' },
        numbers
            .slice(0, HUES)
            .map((module) =>
                element(
                    'li',
                    {},
                    element('span', { class: 'swatch', style: { background: hue(module) } }),
                    moduleName(profile, { module }),
                ),
            ),
    );
}

class FlameGraph {
    constructor(root, profile, model) {
        this.profile = profile;
        this.model = model;
        this.index = model.first;
        this.metric =
            model.causeMetric ??
            METRICS.find(([field]) => this.rows(field).some(([stack]) => stack.frames.length > 0))?.[0] ??
            'live_bytes';
        this.frame = element('div', {
            class: 'flame',
            tabindex: 0,
            role: 'application',
            'aria-roledescription': 'flame graph',
            'aria-label': 'Flame graph. Arrow keys move between frames, Enter zooms, Escape zooms out.',
            'aria-describedby': 'flame-status',
            on: { keydown: (event) => this.key(event) },
        });
        this.status = element('p', { id: 'flame-status', class: 'hint', 'aria-live': 'polite' });
        this.table = element('div', { class: 'scroll' });
        this.details = element('div', { class: 'details stack', tabindex: -1, 'aria-live': 'polite' });
        fill(
            root,
            this.toolsNode(),
            modulesNode(profile),
            this.frame,
            this.status,
            element('div', { class: 'pair inner' }, this.table, this.details),
        );
        this.chart = this.chartNew();
    }

    toolsNode() {
        this.search = element('input', {
            type: 'search',
            placeholder: 'Search frames',
            'aria-label': 'Search frames',
            on: { input: () => this.find() },
        });
        this.out = quietButton('Zoom out', () => this.zoomOut());
        const metrics = segmented(
            'Bytes',
            METRICS.map(([field, name]) => [field, name]),
            this.metric,
            (metric) => {
                this.metric = metric;
                this.draw();
            },
        );
        return element('div', { class: 'bar-of-tools' }, metrics, this.search, this.out);
    }

    chartNew() {
        const tip = () => {};
        tip.show = (event, node) => tooltipShow(event.clientX, event.clientY, nodeTooltip(this, node));
        tip.hide = tooltipHide;
        return flamegraph()
            .inverted(true)
            .cellHeight(ROW_PX)
            .minFrameSize(FRAME_LEAST_PX)
            .transitionDuration(ZOOM_MS)
            .resetHeightOnZoom(true)
            .tooltip(tip)
            .setColorMapper(frameColour)
            .setSearchMatch(searchFits)
            .setSearchHandler((found, sum, total) => this.found(sum, total))
            .setDetailsHandler(() => {})
            .onClick((node) => this.zoomed(node));
    }

    get moment() {
        return this.profile.momentOf(this.metric, this.index);
    }

    rows(metric) {
        return stacksBy(this.profile, metric, this.profile.momentOf(metric, this.index));
    }

    get root() {
        return select(this.frame).datum();
    }

    resize(width) {
        this.width = width;
        this.chart.width(width);
        this.draw();
    }

    // What the graph shows: of many snapshots that is the same, and stays as it was zoomed.
    get drawing() {
        return `${this.metric} ${this.moment} ${this.width}`;
    }

    show(index) {
        this.index = index;
        if (this.drawn !== this.drawing) this.draw();
        else if (this.search.value === '') this.focusOn(this.focused);
    }

    draw() {
        if (!this.width) return;
        this.drawn = this.drawing;
        const tree = treeOf(this.profile, this.metric, this.moment, this.model.report.program ?? 'all');
        this.total = tree.value;
        this.frame.hidden = this.total === 0;
        if (this.root) this.chart.update(tree);
        else select(this.frame).datum(tree).call(this.chart);
        this.zoomed(this.root);
        this.tableFill();
        if (this.search.value !== '') this.find();
    }

    // What is shown, and of when.
    statusText(node) {
        if (this.total === 0) return `No ${metricName[this.metric]} bytes at this snapshot.`;
        const what = METRICS.find(([field]) => field === this.metric)[2];
        const all = `${bytesText(this.total)} ${metricName[this.metric]}`;
        return `${this.frameText(node)}${all} ${this.momentText()}: ${what}.${this.nearestText()}`;
    }

    // The frame's part of it; nothing for the root, which is all of it.
    frameText(node) {
        if (!node || node.depth === 0) return '';
        const { name, frame, value } = node.data;
        const place = framePlace(frame) ? ` (${framePlace(frame)})` : '';
        return `${name}${place}: ${bytesText(value)}, ${shareText(value, this.total)} of `;
    }

    momentText() {
        if (this.metric === 'allocated_bytes') return 'since the start';
        return `at ${secondsText(this.model.snapshots[this.moment].time_ms / 1000)}`;
    }

    nearestText() {
        if (this.moment === this.index || this.metric === 'allocated_bytes') return '';
        return ' Call stacks are known as of the last snapshot and of the highest one; this is the nearer.';
    }

    // The chart keeps room for a title above and below, which it does not have here.
    zoomed(node) {
        this.frame.style.height = `${this.chart.height() - 2 * ROW_PX}px`;
        this.out.disabled = !node || node.depth === 0;
        this.focusOn(node);
    }

    zoomOut() {
        if (this.root && this.total > 0) this.chart.resetZoom();
    }

    find() {
        const term = this.search.value.trim();
        if (term === '') this.chart.clear();
        else this.chart.search(term);
        if (term === '') this.focusOn(this.focused);
    }

    found(sum, total) {
        const share = `${bytesText(sum)}, ${shareText(sum, total)} of ${bytesText(total)}`;
        this.status.textContent = `“${this.search.value.trim()}”: ${share} ${metricName[this.metric]}.`;
    }

    focusOn(node) {
        this.focused = node;
        this.status.textContent = this.statusText(node);
        select(this.frame)
            .selectAll('g.frame')
            .classed('focused', (other) => other === node);
    }

    // A frame that has room on the screen: those under a narrow or hidden one have not.
    visible(node) {
        const span = this.root.x1 - this.root.x0;
        return !node.data.hide && ((node.x1 - node.x0) / span) * this.width > FRAME_LEAST_PX;
    }

    beside(step) {
        const row = (this.focused.parent?.children ?? []).filter((node) => this.visible(node));
        return row[row.indexOf(this.focused) + step];
    }

    key(event) {
        const moves = {
            ArrowUp: () => this.focused.parent,
            ArrowDown: () => this.focused.children?.find((node) => this.visible(node)),
            ArrowLeft: () => this.beside(-1),
            ArrowRight: () => this.beside(1),
        };
        const zooms = { Enter: () => this.chart.zoomTo(this.focused), Escape: () => this.zoomOut() };
        if (
            !this.focused ||
            event.ctrlKey ||
            event.metaKey ||
            event.altKey ||
            !(event.key in moves || event.key in zooms)
        )
            return;
        event.preventDefault();
        if (event.key in moves) this.focusOn(moves[event.key]() ?? this.focused);
        else zooms[event.key]();
    }

    // --- the table below ---

    tableFill() {
        const rows = sitesOf(this.rows(this.metric));
        const shown = rows.filter(({ stacks }, rank) => rank < SITES_SHOWN || stacks[0][0].frames.length === 0);
        fill(
            this.table,
            rows.length === 0
                ? null
                : [
                      element(
                          'table',
                          { class: 'stacks' },
                          tableHead([
                              ['call site', ''],
                              [metricName[this.metric], 'number'],
                              ['share', 'number'],
                              ['freed young', 'number wide'],
                          ]),
                          element(
                              'tbody',
                              {},
                              shown.map((site) => this.rowNode(site)),
                          ),
                      ),
                      rows.length > shown.length
                          ? hint(`and ${plural(rows.length - shown.length, 'call site')} with less`)
                          : null,
                  ],
        );
        this.detailsFill(shown[0]?.stacks[0][0]);
    }

    rowNode({ stacks, bytes }) {
        const stack = stacks[0][0];
        const name =
            stack.frames.length === 0
                ? element('span', {}, stackTitle(stack))
                : linkButton(stackTitle(stack), () => this.stackShow(stack));
        return element(
            'tr',
            { 'data-site': stack.site },
            element(
                'th',
                { scope: 'row' },
                name,
                element(
                    'small',
                    {},
                    callersText(this.profile, stack),
                    stacks.length > 1 ? `, and ${plural(stacks.length - 1, 'other stack')}` : null,
                ),
            ),
            element('td', { class: 'number' }, bytesText(bytes)),
            element('td', { class: 'number' }, shareText(bytes, this.total)),
            element('td', { class: 'number wide' }, youngText(stack)),
        );
    }

    stackShow(stack) {
        const node = this.root.descendants().find((other) => other.data.stacks.includes(stack));
        if (node) this.chart.zoomTo(node);
        this.detailsFill(stack);
    }

    detailsFill(stack) {
        this.details.hidden = !stack;
        const others = stack
            ? (sitesOf(this.rows(this.metric)).find(({ site }) => site === stack.site)?.stacks ?? [])
            : [];
        fill(
            this.details,
            stack
                ? [
                      stackNode(this.profile, stack, this.index),
                      othersNode(stack, others, (other) => this.stackShow(other)),
                  ]
                : null,
        );
        for (const row of this.table.querySelectorAll('tbody tr'))
            row.classList.toggle('chosen', row.dataset.site === stack?.site);
    }
}

export function flameMount(root, model, selection) {
    if (!model.profile)
        return fill(
            root,
            model.report.sample_bytes > 0
                ? emptyNote(
                      'No call stack.',
                      `One is taken for each ${sizeText(model.report.sample_bytes)} allocated, on average, and none was: ` +
                          'a smaller one of `tarn run --sample=BYTES -- COMMAND` takes more.',
                  )
                : emptyNote(
                      'No profile.',
                      'It was recorded with `profile=off`, or is no recording at all: ' +
                          '`tarn run -- COMMAND` records one.',
                  ),
        );
    const graph = new FlameGraph(root, model.profile, model);
    selection.showStack = (number) => {
        graph.stackShow(model.profile.stacks[number]);
        root.scrollIntoView({ block: 'start' });
        graph.details.focus({ preventScroll: true });
    };
    selection.follow((index) => graph.show(index));
    onWidth(graph.frame, (width) => graph.resize(width));
}
