import type { Response } from "openai/resources/responses/responses";
import { expect, test, vi } from "vitest";
import { exactRow, sdk, usableKey } from "./client.ts";
import { canaries } from "./setting.ts";
import type { Weir } from "./weir.ts";

/** Responses that clients come back for, from the public door to the database. */
export function responsesCases(weir: () => Weir): void {
  let serial = 0;
  const question = () => `question-${process.pid}-${++serial}`;

  /** Waits until a response in the background has ended. */
  function ended(id: string, key?: string): Promise<Response> {
    return vi.waitUntil(
      async () => {
        const response = await sdk(weir(), key).responses.retrieve(id);
        return response.status === "queued" || response.status === "in_progress" ? undefined : response;
      },
      { timeout: 15_000, interval: 50 },
    );
  }

  /** Bodies that the provider got and that hold a text. */
  const sent = (text: string) =>
    weir()
      .simulator.received()
      .filter(({ body }) => body.includes(text))
      .map(({ body }) => body);

  test("a response is there for whoever has a key of its tenant, until it is deleted", async () => {
    const response = await sdk(weir()).responses.create({ model: "chat", input: question() });
    const other = await usableKey(weir(), { models: ["private"] });
    expect(await sdk(weir(), other).responses.retrieve(response.id)).toEqual(response);
    expect(await sdk(weir(), other).responses.delete(response.id)).toMatchObject({ deleted: true });
    await expect(sdk(weir()).responses.retrieve(response.id)).rejects.toMatchObject({ status: 404 });
  });

  test("a conversation goes on, streamed, and its provider is told all of it", async () => {
    const [first, second] = [question(), question()];
    const { id, output_text: said } = await sdk(weir()).responses.create({ model: "chat", input: first });
    const params = { model: "chat", input: second, previous_response_id: id, stream: true } as const;
    let last: Response | undefined;
    for await (const event of await sdk(weir()).responses.create(params)) {
      if (event.type === "response.completed") last = event.response;
    }
    expect(last).toMatchObject({ status: "completed", previous_response_id: id });
    const [body = ""] = sent(second);
    expect([first, said, second].map((text) => body.includes(JSON.stringify(text).slice(1, -1)))).toEqual([
      true,
      true,
      true,
    ]);
    expect(body).not.toContain(id);
    const items = await sdk(weir()).responses.inputItems.list(last?.id ?? "", { order: "asc" });
    expect(items.data.map((item) => item.type)).toEqual(["message", "message", "message"]);
  });

  test("a response in the background is made, billed and found", async () => {
    const { data, response: answer } = await sdk(weir())
      .responses.create({ model: "chat", input: question(), background: true })
      .withResponse();
    expect(data).toMatchObject({ status: "queued", background: true });
    expect(answer.headers.get("x-weir-model")).toBe("weir/chat");
    const done = await ended(data.id);
    expect(done).toMatchObject({ id: data.id, status: "completed", background: true });
    expect(done.output_text).not.toBe("");
    const row = await exactRow(weir(), answer.headers.get("x-request-id") ?? "");
    expect(done.usage).toMatchObject({ input_tokens: row.inputTokens, output_tokens: row.outputTokens });
  });

  test("a response in the background is cancelled before its provider answers", async () => {
    const { id } = await sdk(weir()).responses.create({ model: "hung", input: question(), background: true });
    expect(await sdk(weir()).responses.cancel(id)).toMatchObject({ id, status: "cancelled" });
    expect(await ended(id)).toMatchObject({ status: "cancelled", output: [] });
  });

  test("a response in the background fails when its provider is silent", async () => {
    const { id } = await sdk(weir()).responses.create({ model: "hung", input: question(), background: true });
    expect(await ended(id)).toMatchObject({ status: "failed", error: { code: "server_error" } });
  });

  test("what was said is in no log", async () => {
    const input = `${canaries.prompt} ${question()}`;
    const first = await sdk(weir()).responses.create({ model: "chat", input });
    const next = { model: "chat", input, previous_response_id: first.id, background: true } as const;
    await ended((await sdk(weir()).responses.create(next)).id);
    expect(weir().output()).not.toContain(canaries.prompt);
  });
}
