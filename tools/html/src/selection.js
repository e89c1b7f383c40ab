// tools/html/src/selection.js - which snapshot is shown, and which call stack. One picture changes them, the others
// follow.

export function selectionNew(count, first) {
    const followers = [];
    const selection = {
        index: first,
        showStack() {}, // (number of the stack); the call stacks' picture puts its own here
        // Calls back at once, and at each change.
        follow(follower) {
            followers.push(follower);
            follower(selection.index);
        },
        set(index) {
            const wanted = Math.max(0, Math.min(count - 1, index));
            if (wanted === selection.index) return;
            selection.index = wanted;
            followers.forEach((follower) => follower(wanted));
        },
    };
    return selection;
}
