// tools/html/src/dom.js - makes elements. Text goes in as text only: nothing in the page ever parses HTML, since names
// of functions and programs are other people's.

export function byId(id) {
    return document.getElementById(id);
}

function attributeSet(node, name, value) {
    if (value === false || value === null || value === undefined) return;
    if (name === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === 'style')
        for (const [property, setting] of Object.entries(value)) node.style.setProperty(property, setting);
    else node.setAttribute(name, value === true ? '' : value);
}

function present(children) {
    return children.flat(Infinity).filter((child) => child !== null && child !== undefined);
}

// children: nodes, texts, lists of these, or null for none
export function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) attributeSet(node, name, value);
    node.append(...present(children));
    return node;
}

const SVG = 'http://www.w3.org/2000/svg';

export function svgElement(tag, attributes = {}, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) attributeSet(node, name, value);
    node.append(...present(children));
    return node;
}

export function fill(node, ...children) {
    node.replaceChildren(...present(children));
    return node;
}

// What stands where a picture cannot be drawn: what is missing, and how to get it; what is between `` is a command.
export function emptyNote(what, how = '') {
    const parts = how.split('`').map((text, i) => (i % 2 === 1 ? element('code', {}, text) : text));
    return element('p', { class: 'empty' }, element('strong', {}, what), ' ', parts);
}

// A remark in small letters.
export function hint(...content) {
    return element('p', { class: 'hint' }, content);
}

export function quietButton(text, onClick, attributes = {}) {
    return element('button', { type: 'button', class: 'quiet', on: { click: onClick }, ...attributes }, text);
}

// A button that reads as a link: it leads to another place of the page.
export function linkButton(text, onClick) {
    return element('button', { type: 'button', class: 'link', on: { click: onClick } }, text);
}

// heads: [[text, class]...]
export function tableHead(heads) {
    const cells = heads.map(([text, kind]) => element('th', { scope: 'col', class: kind }, text));
    return element('thead', {}, element('tr', {}, cells));
}

// One button of a few is pressed. choices: [[value, label]...]
export function segmented(label, choices, chosen, onChoose) {
    const buttons = choices.map(([value, text]) =>
        element(
            'button',
            {
                type: 'button',
                'aria-pressed': String(value === chosen),
                'data-value': value,
                on: {
                    click: () => {
                        press(value);
                        onChoose(value);
                    },
                },
            },
            text,
        ),
    );
    const press = (value) =>
        buttons.forEach((button) =>
            button.setAttribute('aria-pressed', String(button.dataset.value === String(value))),
        );
    return element('div', { class: 'segmented', role: 'group', 'aria-label': label }, buttons);
}

// Calls back with the width of the node whenever that changes, and once at the start.
export function onWidth(node, callback) {
    let width = 0;
    new ResizeObserver(([entry]) => {
        const now = Math.floor(entry.contentRect.width);
        if (now > 0 && now !== width) callback((width = now));
    }).observe(node);
}
