"""browser.py - a headless Chromium, driven over a pair of pipes (--remote-debugging-pipe): no driver, no port.

Each message is one JSON object that ends in a zero byte, on descriptor 3 of the browser (to it) and 4 (from it). What
the page says on its console, every exception in it and every request it makes is kept for the test to look at.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
ANSWER_S = 60      # a busy machine; an answer takes milliseconds
SETTLE_S = 0.05    # between two looks at a page that has yet to become what is waited for
# Chromium reads from descriptor 3 and writes to 4.
PIPES_GIVE = 'import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])'


def find():
    return next(filter(None, map(shutil.which, NAMES)), None)


def pipe_apart():
    """A pipe whose ends are neither standard descriptors, where those are closed here, nor 3 and 4."""
    low = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]
    for end in low:
        os.close(end)
    return ends


class Browser:
    def __init__(self, executable):
        self.profile = tempfile.mkdtemp(prefix='tarn-browser-')
        to_read, self.to_write = pipe_apart()
        self.from_read, from_write = pipe_apart()
        self.process = subprocess.Popen(
            [sys.executable, '-c', PIPES_GIVE, str(to_read), str(from_write), executable, '--headless=new', '--no-sandbox',
             '--remote-debugging-pipe', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
             '--disable-background-networking', '--hide-scrollbars', '--force-color-profile=srgb',
             '--user-data-dir=' + self.profile, 'about:blank'],
            pass_fds=(to_read, from_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.number, self.session = b'', 0, None
        self.console, self.requests = [], []
        self.attach()

    def attach(self):
        pages = [target for target in self.call('Target.getTargets')['targetInfos'] if target['type'] == 'page']
        target = pages[0]['targetId'] if pages else self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')

    # --- messages ---

    def receive(self, deadline):
        while b'\0' not in self.buffer:
            ready = select.select([self.from_read], [], [], max(0, deadline - time.monotonic()))[0]
            data = os.read(self.from_read, 1 << 20) if ready else b''
            if not data:
                raise TimeoutError('the browser does not answer')
            self.buffer += data
        message, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(message)

    def note(self, message):
        """An event: what a test may have to complain about is kept."""
        method, event = message.get('method'), message.get('params', {})
        if method == 'Network.requestWillBeSent':
            self.requests.append(event['request']['url'])
        elif method == 'Runtime.exceptionThrown':
            details = event['exceptionDetails']
            self.console.append(details.get('exception', {}).get('description') or details['text'])
        elif method == 'Runtime.consoleAPICalled':
            self.console.append(' '.join(str(part.get('value', part.get('description'))) for part in event['args']))
        elif method == 'Log.entryAdded':
            self.console.append(event['entry']['text'])

    def call(self, method, **parameters):
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': parameters}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b'\0')
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self.receive(deadline)
            if answer.get('id') == self.number:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]["message"]}')
                return answer['result']
            self.note(answer)

    # --- the page ---

    def view(self, width, height, scheme='light', touch=False):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call('Emulation.setTouchEmulationEnabled', enabled=touch)
        self.call('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': scheme}, {'name': 'prefers-reduced-motion', 'value': 'reduce'}])

    def open(self, path):
        self.console.clear()
        self.requests.clear()
        self.call('Page.navigate', url='file://' + os.path.realpath(path))
        self.wait_for('document.readyState === "complete" && location.href !== "about:blank"')

    def value(self, expression):
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in result:
            details = result['exceptionDetails']
            raise RuntimeError(f'{expression}: {details.get("exception", {}).get("description", details["text"])}')
        return result['result'].get('value')

    def wait_for(self, expression):
        deadline = time.monotonic() + ANSWER_S
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f'never true: {expression}')
            time.sleep(SETTLE_S)

    def place(self, selector):
        """The middle of the element in the window, where it is scrolled to."""
        return self.value(f'''(() => {{
            const node = document.querySelector({json.dumps(selector)});
            node.scrollIntoView({{block: "center"}});
            const {{x, y, width, height}} = node.getBoundingClientRect();
            return {{x, y, width, height}};
        }})()''')

    # --- a user's hands ---

    def mouse(self, kind, x, y, held=False):
        moved = kind == 'mouseMoved'
        self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='none' if moved and not held else 'left',
                  buttons=1 if held else 0, clickCount=0 if moved else 1)

    def move(self, x, y):
        self.mouse('mouseMoved', x, y)

    def click(self, x, y):
        self.move(x, y)
        self.mouse('mousePressed', x, y, held=True)
        self.mouse('mouseReleased', x, y)

    def click_on(self, selector):
        place = self.place(selector)
        self.click(place['x'] + place['width'] / 2, place['y'] + place['height'] / 2)

    def drag(self, x, y, to_x, steps=8):
        self.move(x, y)
        self.mouse('mousePressed', x, y, held=True)
        for step in range(1, steps + 1):
            self.mouse('mouseMoved', x + (to_x - x) * step / steps, y, held=True)
        self.mouse('mouseReleased', to_x, y)

    def key(self, name, text=None):
        code = {'Enter': 13, 'Escape': 27, 'Tab': 9, 'End': 35, 'Home': 36, 'ArrowLeft': 37, 'ArrowUp': 38,
                'ArrowRight': 39, 'ArrowDown': 40}.get(name, ord(name[0].upper()))
        more = {'text': '\r' if name == 'Enter' else text} if text or name == 'Enter' else {}
        self.call('Input.dispatchKeyEvent', type='keyDown', key=name, windowsVirtualKeyCode=code, **more)
        self.call('Input.dispatchKeyEvent', type='keyUp', key=name, windowsVirtualKeyCode=code)

    def type(self, text):
        self.call('Input.insertText', text=text)

    def picture(self, path, whole=True):
        data = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=whole)['data']
        with open(path, 'wb') as file:
            file.write(base64.b64decode(data))

    def close(self):
        try:
            self.session = None
            self.call('Browser.close')
        except (OSError, RuntimeError, TimeoutError):
            self.process.kill()
        try:
            self.process.wait(timeout=ANSWER_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to_write)
        os.close(self.from_read)
        shutil.rmtree(self.profile, ignore_errors=True)
