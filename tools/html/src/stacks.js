// tools/html/src/stacks.js - call stacks as a tree of frames, and their names.

const UNATTRIBUTED = '[unattributed]';
const CALLERS_SHOWN = 3;
const RUNTIME = /^(_start|__libc_start|start_thread|clone3?$|__clone)/; // how any program or thread begins

export function stackTitle(stack) {
    if (!stack) return UNATTRIBUTED;
    return stack.site || (stack.frames.length === 0 ? UNATTRIBUTED : `stack ${stack.index + 1}`);
}

// Who called the site: two stacks with one site differ there.
export function callersText(profile, stack) {
    const functions = stack.frames.map((number) => profile.frames[number]?.function ?? '?');
    const site = functions.findIndex((name) => stack.site.startsWith(name));
    const callers = functions
        .slice(Math.max(site, 0) + 1)
        .filter((name) => !RUNTIME.test(name))
        .slice(0, CALLERS_SHOWN);
    return callers.length > 0 ? `called by ${callers.join(', ')}` : '';
}

export function moduleName(profile, frame) {
    const path = profile.modules[frame?.module]?.path;
    return path ? path.slice(path.lastIndexOf('/') + 1) : '';
}

export function framePlace(frame) {
    if (!frame?.file) return '';
    return frame.line ? `${frame.file}:${frame.line}` : frame.file;
}

function nodeNew(name, frame) {
    return { name, frame, value: 0, byKey: new Map(), stacks: [] };
}

function childFor(node, key, name, frame) {
    if (!node.byKey.has(key)) node.byKey.set(key, nodeNew(name, frame));
    return node.byKey.get(key);
}

// Two calls in one function are one frame of the tree, unless their lines are known to differ.
function frameKey(frame) {
    return frame ? JSON.stringify([frame.function, frame.file, frame.line, frame.module]) : '?';
}

// From the root's child to the innermost frame; the report has the innermost first. What has no frames stands beside
// them.
function pathOf(root, profile, stack) {
    if (stack.frames.length === 0) return [childFor(root, stackTitle(stack), stackTitle(stack), null)];
    let node = root;
    return [...stack.frames].reverse().map((number) => {
        const frame = profile.frames[number] ?? null;
        node = childFor(node, frameKey(frame), frame?.function ?? '?', frame);
        return node;
    });
}

function stackAdd(root, profile, stack, bytes) {
    const path = pathOf(root, profile, stack);
    for (const node of [root, ...path]) node.value += bytes;
    path[path.length - 1].stacks.push(stack);
}

// What has no frames comes last, however much it is: nobody can look into it.
function order(isUnknown, bytes) {
    return (a, b) => isUnknown(a) - isUnknown(b) || bytes(b) - bytes(a);
}

// For d3-flame-graph: {name, value, children}, largest first.
function nodeFinish(node) {
    node.children = [...node.byKey.values()].map(nodeFinish).sort(
        order(
            (child) => child.frame === null,
            (child) => child.value,
        ),
    );
    delete node.byKey;
    return node;
}

export function treeOf(profile, metric, moment, rootName) {
    const root = nodeNew(rootName, null);
    for (const stack of profile.stacks) {
        const bytes = profile.bytes(stack, metric, moment);
        if (bytes > 0) stackAdd(root, profile, stack, bytes);
    }
    return nodeFinish(root);
}

// [[stack, bytes]...], most first
export function stacksBy(profile, metric, moment) {
    return profile.stacks
        .map((stack) => [stack, profile.bytes(stack, metric, moment)])
        .filter(([, bytes]) => bytes > 0)
        .sort(
            order(
                ([stack]) => stack.frames.length === 0,
                ([, bytes]) => bytes,
            ),
        );
}

// The same added up by call site: [{site, bytes, stacks: [[stack, bytes]...]}...], most first.
export function sitesOf(rows) {
    const sites = new Map();
    for (const [stack, bytes] of rows) {
        const site = sites.get(stack.site) ?? { site: stack.site, bytes: 0, stacks: [] };
        site.bytes += bytes;
        site.stacks.push([stack, bytes]);
        sites.set(stack.site, site);
    }
    return [...sites.values()].sort(
        order(
            ({ stacks }) => stacks[0][0].frames.length === 0,
            ({ bytes }) => bytes,
        ),
    );
}
