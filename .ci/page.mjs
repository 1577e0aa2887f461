// The page of `rixl plan --output html` in a real Chromium, in light and dark, wide and narrow: `node page.mjs PAGE [FOLDER]`.
// With a folder, pictures of it go there.
import assert from 'node:assert/strict'
import { pathToFileURL } from 'node:url'
import binary from '@sparticuz/chromium'
import { chromium } from 'playwright-core'

const [path, folder] = process.argv.slice(2)
const url = pathToFileURL(path).href

// Runs in the page. Colours as the browser computed them, which is rgb(R, G, B).
const look = () => {
  const channels = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number)
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const page = luminance(getComputedStyle(document.body).backgroundColor)
  const contrast = (colour) => {
    const [light, dark] = [luminance(colour), page].sort((a, b) => b - a)
    return (light + 0.05) / (dark + 0.05)
  }
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
  const texts = [...document.body.querySelectorAll('*')].filter((element) => !element.closest('svg') && hasText(element))
  const inside = (part, whole) => part.left >= whole.left - 1 && part.right <= whole.right + 1
  return {
    page,
    faint: texts.filter((element) => contrast(getComputedStyle(element).color) < 4.5).map((element) => element.outerHTML),
    pictures: [...document.querySelectorAll('svg')].map((svg) => {
      const box = svg.getBoundingClientRect()
      const parts = [...svg.querySelectorAll('rect, path')].map((part) => part.getBoundingClientRect())
      return {
        name: svg.parentElement.querySelector('small').textContent,
        width: box.width,
        isInside: parts.every((part) => inside(part, box)),
        age: svg.querySelector('.age')?.getBoundingClientRect().width ?? 0,
      }
    }),
    isTooWide: document.documentElement.scrollWidth > window.innerWidth,
    states: [...document.querySelectorAll('td b')].map((state) => state.textContent),
  }
}

// Its own arguments are for one page in one process. Its sandbox needs what containers and root lack; the page is ours.
const browser = await chromium.launch({ executablePath: await binary.executablePath(), args: ['--no-sandbox'] })
for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 420]) {
    const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } })
    const requests = []
    const complaints = []
    page.on('request', (request) => requests.push(request.url()))
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(String(error)))
    await page.goto(url)
    const seen = await page.evaluate(look)
    if (folder) await page.screenshot({ path: `${folder}/plan-${colorScheme}-${width}.png`, fullPage: true })
    const what = `${colorScheme}, ${width} wide`
    assert.deepEqual(requests, [url], `${what}: it loads something else`)
    assert.deepEqual(complaints, [], what)
    assert.ok(colorScheme === 'light' ? seen.page > 0.8 : seen.page < 0.1, `${what}: the page's colour`)
    assert.deepEqual(seen.faint, [], `${what}: text that is hard to read`)
    assert.ok(!seen.isTooWide, `${what}: it must not scroll sideways`)
    assert.ok(seen.pictures.length >= 3, `${what}: pictures`)
    for (const picture of seen.pictures) {
      assert.ok(picture.name && picture.width > 50 && picture.isInside && picture.age > 0, `${what}: ${JSON.stringify(picture)}`)
    }
    assert.ok(seen.states.includes('would rotate') && seen.states.includes('fresh'), `${what}: ${seen.states}`)
    await page.close()
  }
}
await browser.close()
