// tools/html/src/format.js - figures as text, with their units.

const UNITS = [
    ['GiB', 2 ** 30, 2],
    ['MiB', 2 ** 20, 2],
    ['KiB', 2 ** 10, 1],
]; // name, size, decimals

function grouped(value, decimals) {
    return value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export function bytesText(bytes) {
    const size = Math.abs(bytes);
    const [name, unit, decimals] = UNITS.find(([, unit]) => size >= unit) ?? ['B', 1, 0];
    return `${bytes < 0 ? '−' : ''}${grouped(size / unit, decimals)} ${name}`;
}

// Sizes of blocks and pages, which are round: 48 B, 8 KiB
export function sizeText(bytes) {
    if (bytes >= 2 ** 20 && bytes % 2 ** 18 === 0) return `${bytes / 2 ** 20} MiB`;
    if (bytes >= 2 ** 10 && bytes % 2 ** 8 === 0) return `${bytes / 2 ** 10} KiB`;
    return `${grouped(bytes, 0)} B`;
}

// For axes: as short as can be
export function bytesTick(bytes) {
    if (bytes === 0) return '0';
    const [name, unit] = UNITS.find(([, unit]) => bytes >= unit) ?? ['B', 1];
    return `${Number((bytes / unit).toPrecision(3))} ${name}`;
}

export function countText(count) {
    return grouped(Math.round(count), 0);
}

export function shareText(part, whole) {
    if (!(whole > 0)) return '';
    const percent = (100 * part) / whole;
    if (percent === 0) return '0 %';
    if (Math.abs(percent) < 0.1) return '< 0.1 %';
    return `${grouped(percent, Math.abs(percent) < 10 ? 1 : 0)} %`;
}

export function secondsText(seconds) {
    if (seconds < 1) return `${grouped(seconds * 1000, 0)} ms`;
    if (seconds < 120) return `${grouped(seconds, 2)} s`;
    if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export function secondsTick(seconds) {
    return seconds === 0 ? '0 s' : secondsText(seconds).replace(/\.?0+ s$/, ' s');
}

export function plural(count, noun) {
    return `${countText(count)} ${noun}${Math.round(count) === 1 ? '' : 's'}`;
}
