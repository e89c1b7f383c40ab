// tools/html/src/theme.js - light, dark, or as the system has it; and the colours for what is drawn on a canvas.

const ORDER = ['auto', 'light', 'dark'];
const LABELS = { auto: '◐ Auto', light: '☀ Light', dark: '☾ Dark' };
const KEY = 'tarn-report-theme';
const followers = [];
const systemDark = matchMedia('(prefers-color-scheme: dark)');
const printing = matchMedia('print'); // on white paper, whatever is on the screen

// A page that was opened as a file may have no storage.
function choiceRead() {
    try {
        return ORDER.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : 'auto';
    } catch {
        return 'auto';
    }
}

function choiceKeep(choice) {
    try {
        localStorage.setItem(KEY, choice);
    } catch {
        // then it lasts as long as the page
    }
}

function themeApply(choice) {
    const dark = !printing.matches && (choice === 'dark' || (choice === 'auto' && systemDark.matches));
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    followers.forEach((follower) => follower());
}

export function themeMount(button) {
    let choice = choiceRead();
    const show = () => {
        button.textContent = LABELS[choice];
        button.setAttribute('aria-label', `Colours: ${choice}. Change`);
        themeApply(choice);
    };
    button.addEventListener('click', () => {
        choice = ORDER[(ORDER.indexOf(choice) + 1) % ORDER.length];
        choiceKeep(choice);
        show();
    });
    for (const media of [systemDark, printing]) media.addEventListener('change', show);
    show();
}

export function onTheme(follower) {
    followers.push(follower);
}

// The value of a custom property of style.css: all colours stand there.
export function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
