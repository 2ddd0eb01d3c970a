import { existsSync } from "node:fs";
import { chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type StartedGateway, startGateway } from "./started-gateway.ts";

// The pages of documentation in a browser, before a gateway as `npm start` starts it.

const executablePath = process.env["WEIR_TEST_CHROMIUM"] ?? "/usr/bin/chromium";
const missing = existsSync(executablePath)
  ? ""
  : ` (not opened: there is no ${executablePath}; WEIR_TEST_CHROMIUM names another)`;

let gateway: StartedGateway;

beforeAll(async () => {
  gateway = await startGateway();
}, 120_000);

afterAll(() => gateway.stop(), 60_000);

/** Opens a page and gives it to a test, which ends with nothing that the browser complained of or fetched from elsewhere. */
async function open(path: string, look: (page: Page) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1_300, height: 1_000 } });
    const complaints: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("request", (request) => {
      const { protocol, origin } = new URL(request.url());
      if (protocol.startsWith("http") && origin !== gateway.url) complaints.push(`fetched ${origin}`);
    });
    await page.goto(`${gateway.url}${path}`);
    await look(page);
    expect(complaints).toEqual([]);
  } finally {
    await browser.close();
  }
}

test(`/docs lists the operations, and a call that is tried out there is answered${missing}`, {
  timeout: 120_000,
}, async () => {
  if (missing !== "") return;
  await open("/docs", async (page) => {
    // One section at a time: of several long ones Swagger UI draws only the beginning.
    const { paths } = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const operations = Object.values(paths).flatMap((methods) => Object.values(methods) as { tags: string[] }[]);
    for (const tag of new Set(operations.flatMap(({ tags }) => tags))) {
      const section = page.locator(`.opblock-tag[data-tag="${tag}"]`);
      await section.click();
      const count = operations.filter(({ tags }) => tags.includes(tag)).length;
      await expect.poll(() => page.locator(".opblock").count(), { timeout: 30_000 }).toBe(count);
      await section.click();
      await expect.poll(() => page.locator(".opblock").count(), { timeout: 30_000 }).toBe(0);
    }
    await page.locator('.opblock-tag[data-tag="OpenAI"]').click();
    await page.locator("button.authorize").first().click();
    await page.locator(".modal-ux input").first().fill(gateway.key);
    await page.locator(".modal-ux button.authorize").first().click();
    await page.locator(".modal-ux button.btn-done").first().click();
    const chat = page.locator("#operations-OpenAI-post_v1_chat_completions");
    await chat.locator(".opblock-summary-control").click();
    await chat.locator("button.try-out__btn").click();
    await chat.locator("button.execute").click();
    await chat
      .locator(".live-responses-table .response-col_status")
      .filter({ hasText: "200" })
      .first()
      .waitFor({ timeout: 60_000 });
    expect(await chat.locator(".live-responses-table").innerText()).toContain("chat.completion");
    expect(await page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length")).toBe(0);
  });
});

test(`/redoc reads without a script${missing}`, { timeout: 60_000 }, async () => {
  if (missing !== "") return;
  await open("/redoc", async (page) => {
    await page.getByRole("heading", { name: "Create a chat completion", exact: true }).waitFor();
    expect(await page.locator("article").count()).toBeGreaterThan(200);
    expect(await page.locator("script").count()).toBe(0);
    await page.getByRole("link", { name: "GenerateRequest" }).first().click();
    expect(new URL(page.url()).hash).toBe("#weir.chat.v1.GenerateRequest");
  });
});
