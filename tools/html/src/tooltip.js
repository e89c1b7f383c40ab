// tools/html/src/tooltip.js - the one tooltip of the page, beside the pointer or below what has the focus.
import { element, fill } from './dom.js';

const GAP = 14;
let box = null;

function boxNode() {
    if (!box) {
        box = element('div', { class: 'tooltip', role: 'tooltip', id: 'tooltip', hidden: true });
        document.body.append(box);
    }
    return box;
}

// Inside the window, and not under the pointer.
function boxPlace(node, x, y) {
    const { offsetWidth: width, offsetHeight: height } = node;
    const left = x + GAP + width > innerWidth ? Math.max(4, x - GAP - width) : x + GAP;
    const top = y + GAP + height > innerHeight ? Math.max(4, y - GAP - height) : y + GAP;
    node.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    node.style.top = `${top}px`;
}

export function tooltipShow(x, y, ...content) {
    const node = boxNode();
    fill(node, content);
    node.hidden = false;
    boxPlace(node, x, y);
}

export function tooltipHide() {
    boxNode().hidden = true;
}

// lines: [[name, value]...] below a title
export function tooltipLines(title, lines, note) {
    return [
        element('strong', {}, title),
        element(
            'dl',
            {},
            lines.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
        ),
        note ? element('p', {}, note) : null,
    ];
}

// The node explains itself to the pointer and to the keyboard.
export function tooltipFor(node, content) {
    node.addEventListener('pointermove', (event) => tooltipShow(event.clientX, event.clientY, content()));
    node.addEventListener('pointerleave', tooltipHide);
    node.addEventListener('focus', () => {
        const place = node.getBoundingClientRect();
        if (node.matches(':focus-visible')) tooltipShow(place.left + 20, place.bottom - GAP, content());
    });
    node.addEventListener('blur', tooltipHide);
}

addEventListener('scroll', tooltipHide, { passive: true });
addEventListener('keydown', (event) => event.key === 'Escape' && tooltipHide());
