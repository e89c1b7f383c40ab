// tools/html/build.mjs NPM WORK OUTPUT required|optional - builds the page that `tarn report --html` fills.
//
//   package.json, package-lock.json --npm ci--> WORK/node_modules
//   src/main.js, style.css          --esbuild--> one script, one style sheet
//   template.html                   @style@ @script@ @script_hash@ @licences@ filled in; @report@ stays for the command
//
// Nothing is written beside the sources. `optional`: where the packages cannot be had, OUTPUT is an empty file after
// one line that says so, and the command then tells its user that it was built without the page.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const source = dirname(fileURLToPath(import.meta.url));
const [npm, work, output, need] = process.argv.slice(2);
const manifests = ['package.json', 'package-lock.json'];
const modules = join(resolve(work), 'node_modules');
const stamp = join(modules, '.complete'); // holds the lock file that these modules came from

function sourceText(name) {
    return readFileSync(join(source, name), 'utf8');
}

function modulesAreFresh() {
    return existsSync(stamp) && readFileSync(stamp, 'utf8') === sourceText('package-lock.json');
}

// --ignore-scripts: no package here needs one, and none is to run code of its own on the builder's machine.
function modulesInstall() {
    mkdirSync(work, { recursive: true });
    rmSync(stamp, { force: true });
    for (const name of manifests) copyFileSync(join(source, name), join(work, name));
    const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error', '--no-update-notifier'];
    execFileSync(npm, ['ci', ...quiet, '--fetch-retries=2', '--fetch-retry-mintimeout=1000'], {
        cwd: work,
        stdio: ['ignore', 'pipe', 'pipe'],
    });
    copyFileSync(join(source, 'package-lock.json'), stamp);
}

// keepNames: d3-flame-graph knows a node of d3-hierarchy by its constructor's name.
function bundle(esbuild, entry) {
    const result = esbuild.buildSync({
        entryPoints: [join(source, entry)],
        nodePaths: [modules],
        bundle: true,
        minify: true,
        keepNames: true,
        write: false,
        metafile: true,
        outdir: resolve(work),
        format: 'iife',
        target: ['chrome100', 'firefox100', 'safari15'],
        // The graph's own style sheet is replaced by ours: it has one theme only.
        loader: { '.css': entry.endsWith('.css') ? 'css' : 'empty' },
        legalComments: 'none', // the licences stand in the page as a whole
        logLevel: 'warning',
    });
    return { text: result.outputFiles[0].text.trim(), inputs: Object.keys(result.metafile.inputs) };
}

// Inline, a text ends at the first end of its element, wherever that stands.
function inlineSafe(text, end) {
    if (text.toLowerCase().includes(end) || text.includes('@report@'))
        throw new Error(`a bundled text contains ${end} or the mark of the report`);
    return text;
}

// The packages whose code is in the bundle, as their licences want it: each text once, with those that have it.
function licencesText(inputs) {
    const names = [
        ...new Set(inputs.map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean)),
    ].sort();
    const byText = new Map();
    for (const name of names) {
        const { version } = JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8'));
        const text = readFileSync(join(modules, name, 'LICENSE'), 'utf8').trim();
        byText.set(text, [...(byText.get(text) ?? []), `${name} ${version}`]);
    }
    return [...byText].map(([text, packages]) => `${packages.join(', ')}:\n\n${text}`).join('\n\n---\n\n');
}

function pageBuild() {
    const esbuild = createRequire(join(modules, 'x'))('esbuild');
    const style = bundle(esbuild, 'style.css');
    const script = bundle(esbuild, 'src/main.js');
    const licences = licencesText([...style.inputs, ...script.inputs]);
    const parts = {
        style: inlineSafe(style.text, '</style'),
        script: inlineSafe(script.text, '</script'),
        licences: inlineSafe(licences, '-->'),
        script_hash: 'sha256-' + createHash('sha256').update(script.text).digest('base64'),
        report: '@report@',
    };
    return sourceText('template.html').replace(/@(\w+)@/g, (whole, name) => parts[name] ?? whole);
}

function lastLine(error) {
    const lines = String(error.stderr || error.message)
        .trim()
        .split('\n');
    return lines.find((line) => line.includes('npm error')) ?? lines[0];
}

try {
    if (!modulesAreFresh()) modulesInstall();
} catch (error) {
    console.error(`tarn report --html is left out: npm cannot install its packages (${lastLine(error)})`);
    if (need === 'required') process.exit(1);
    writeFileSync(output, '');
    process.exit(0);
}
writeFileSync(output, pageBuild());
