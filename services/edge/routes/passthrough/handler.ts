import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CallHeadSchema, type NewBatch, type Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type {
  PassthroughService,
  ForwardRequest,
  ForwardResponse,
} from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { callMetadata, type Client, type Metadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { JsonObject } from "@weir/dialect/json";
import type { ReplyStream } from "@weir/kit/reply-stream";
import type { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { WeirError } from "@weir/kit/weir-error";
import { principalHeaderFor } from "../../auth/caller.ts";
import { readTags } from "../../auth/tags.ts";
import type { EdgeSettings } from "../../config.ts";
import { checkMayMake, checkReach, collectionKind, collectionsAmong } from "../../files/collections.ts";
import { mayName, type Names, noNames } from "../../files/kept-names.ts";
import type { OwnNames } from "../../files/own-names.ts";
import { namesInBody } from "../../files/request-names.ts";
import { type BodyMemory, readJsonBody } from "../../http/body.ts";
import { aliasOf, outputTokensGuess } from "../generate.ts";
import type { KeyedCall } from "../route.ts";
import { answerWhole, readWhole, relay, type WholeAnswer } from "./answer.ts";
import { checkBatch } from "./batch-models.ts";
import { batchPurpose, BatchUpload } from "./batch-upload.ts";
import { type BodyItem, toPieces } from "./call-body.ts";
import { imageCount, type JsonBody, readJsonCall, readUser, resourcesIn, unitsOf, writtenAnew } from "./json-body.ts";
import { answerList } from "./list.ts";
import { MultipartBody } from "./multipart-body.ts";
import type { Operation } from "./operations.ts";
import { findOwn, forget, placeOf, recordMade, type Resources } from "./ownership.ts";

export interface PassthroughDeps {
  readonly passthrough: Client<typeof PassthroughService>;
  readonly resources: Resources;
  readonly ownNames: OwnNames;
  readonly routes: Pick<Client<typeof RouteService>, "listRoutes">;
  readonly settings: () => EdgeSettings;
  readonly memory: BodyMemory;
  readonly clock: Clock;
}

/** Largest body of multipart/form-data: the largest file that OpenAI takes, and some. */
const uploadBytesMax = 544 * 1024 * 1024;
const tokensPerByte = 0.25;

type HeadInit = Omit<MessageInitShape<typeof CallHeadSchema>, "$typeName">;

/** A call on its way: how it begins, and what follows. */
interface Outgoing {
  readonly alias: string;
  readonly user: string | undefined;
  readonly head: HeadInit;
  readonly items: AsyncIterable<BodyItem> | Iterable<BodyItem>;
  /** Resources that the body names, by which the call finds its place. */
  readonly named: readonly string[];
  /** What else it names. */
  readonly names: Names;
  /** The body, where it is JSON. */
  readonly json?: JsonObject;
  /** What looks at a file that is uploaded. */
  readonly upload?: BatchUpload;
  /** A guess at what the body costs in tokens. */
  readonly inputTokens: number;
  close(): Promise<void>;
}

/** Makes one call to a provider on behalf of a caller. */
export type Send = (head: HeadInit, items: Outgoing["items"], metadata: Metadata) => ReplyStream<ForwardResponse>;

/** Answers one operation by passing it through. */
export function createPassthrough(deps: PassthroughDeps, operation: Operation): (call: KeyedCall) => Promise<void> {
  const { ownNames, resources } = deps;
  const send: Send = (head, items, metadata) => deps.passthrough.forward(requests(head, items), { metadata });

  return async (call) => {
    const { exchange, caller } = call;
    checkIds(call.params);
    if (operation.effect === "creates" && operation.kind === collectionKind) checkMayMake(caller);
    const tags = readTags(exchange.request.headers);
    const metadataFor = (user: string | undefined) =>
      callMetadata(principalHeaderFor(caller, user, tags), exchange.id, exchange.trace);
    if (operation.lists === true) return answerList({ resources, send }, operation, call, metadataFor(undefined));

    const outgoing = await readCall(deps, operation, call, metadataFor);
    try {
      const metadata = metadataFor(outgoing.user);
      await admit(operation, call, outgoing);
      const ids = operation.ids.map((name) => call.params[name] ?? "");
      const { alias } = outgoing;
      await ownNames.check(outgoing.names, { caller, metadata, alias });
      const mayLack = () => ownNames.allows(alias, metadata);
      const named = await findOwn(resources, [...ids, ...outgoing.named], caller, metadata, mayLack);
      const place = placeOf(named);
      let batch: NewBatch | undefined;
      if (isNewBatch(operation) && outgoing.json !== undefined) {
        const { routes } = await deps.routes.listRoutes({}, { timeoutMs: routesTimeoutMs });
        const lines = named.flatMap(({ batchInput }) => batchInput?.models ?? []);
        const own = await ownNames.ownModels(
          lines.map(({ model }) => model),
          metadata,
        );
        batch = checkBatch(outgoing.json, named, { mayCall: caller.mayCall, isOwn: (model) => own.has(model) }, routes);
        const collections = named.flatMap(({ batchInput }) => batchInput?.collections ?? []);
        checkReach(collections, caller);
      }
      if (exchange.isOver) return;
      const head = { ...headOf(operation, call, outgoing, place), ...(batch === undefined ? {} : { batch }) };
      const reply = send(head, outgoing.items, metadata);
      // A batch that is made is put on record though its client has left: it would go on at its provider, and be nobody's.
      if (batch === undefined) exchange.onGone = () => void reply.return();
      if (operation.kind === undefined) {
        const usage = await relay(exchange, reply, deps.settings().heartbeatMs);
        if (usage?.inputTokens !== undefined) call.admission.settle(usage.inputTokens + (usage.outputTokens ?? 0));
      } else {
        const answer = await readWhole(reply);
        await takeEffect(operation, answer, outgoing, ids[0] ?? "", metadata);
        answerWhole(exchange, answer);
      }
    } catch (thrown) {
      // Nothing was said, so nothing was used; otherwise what was reserved stands for what nobody reported.
      if (exchange.isSilent) call.admission.settle(0);
      throw thrown;
    } finally {
      await outgoing.close();
    }
  };

  async function takeEffect(
    { effect, kind }: Operation,
    answer: WholeAnswer,
    { alias, upload }: Outgoing,
    id: string,
    metadata: Metadata,
  ): Promise<void> {
    if (kind === undefined || answer.head.status >= 300) return;
    if (effect === "deletes") await forget(resources, id, metadata);
    else {
      const made = { kind, isNew: effect === "creates", alias, batchLines: upload?.input };
      await recordMade(deps, answer, made, metadata);
    }
  }
}

const routesTimeoutMs = 5_000;

function isNewBatch({ effect, kind }: Operation): boolean {
  return effect === "creates" && kind === "batch";
}

/** Ids of providers; anything else could be read as another path by somebody on the way. */
const idShape = /^[\w-]{1,256}$/;

/** @throws WeirError NOT_FOUND */
function checkIds(params: KeyedCall["params"]): void {
  for (const id of Object.values(params)) if (!idShape.test(id)) throw new WeirError(ErrorReason.NOT_FOUND);
}

/** Asks whether the caller may call the model, and sets aside what the call may use of its limits. */
async function admit(
  operation: Operation,
  { caller, admission }: KeyedCall,
  { alias, inputTokens }: Outgoing,
): Promise<void> {
  if (alias === "") {
    if (operation.model !== "required") return;
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "`model` is missing.", metadata: { param: "model" } });
  }
  if (!caller.mayCall(alias)) throw new WeirError(ErrorReason.MODEL_FORBIDDEN, { metadata: { model: alias } });
  const reserving = admission.reserve(alias, inputTokens + outputTokensGuess);
  if (reserving !== undefined) await reserving;
}

type MetadataFor = (user: string | undefined) => Metadata;

function readCall(
  deps: PassthroughDeps,
  operation: Operation,
  call: KeyedCall,
  metadataFor: MetadataFor,
): Promise<Outgoing> | Outgoing {
  const { body } = operation;
  const type = call.exchange.request.headers["content-type"] ?? "";
  if (body === "none") return noBody;
  const isMultipart = body === "multipart" || (body === "json or multipart" && /^multipart\//i.test(type));
  return isMultipart ? readMultipart(deps, operation, call, metadataFor) : readJson(deps, operation, call);
}

const noBody: Outgoing = {
  alias: "",
  user: undefined,
  head: {},
  items: [],
  named: [],
  names: noNames,
  inputTokens: 0,
  close: async () => {},
};

async function readJson(deps: PassthroughDeps, operation: Operation, { exchange }: KeyedCall): Promise<Outgoing> {
  const { bodyBytesMax, bodyStallMs, bodyBytesPerSecondMin } = deps.settings();
  const received = await readJsonBody(exchange, {
    bytesMax: bodyBytesMax,
    stallMs: bodyStallMs,
    bytesPerSecondMin: bodyBytesPerSecondMin,
    memory: deps.memory,
  });
  // Pictures may be files that were uploaded; whatever else models see is no reference.
  const isForModels = operation.model !== "none" && operation.kind === undefined;
  const isSearched = !isForModels || operation.path === "/images/edits";
  const sent = isSearched ? writtenAnew(received) : received;
  const body: JsonBody = readJsonCall(sent);
  if (operation.kind === "upload" && body.json["purpose"] === batchPurpose) throw batchInParts();
  const namesModel = operation.model !== "none" && body.model !== "";
  const user = body.json["safety_identifier"] ?? body.json["user"];
  return {
    alias: namesModel ? aliasOf(body.model) : "",
    user: readUser(user),
    head: {
      contentType: "application/json",
      bodyBytes: BigInt(namesModel ? body.bytes : sent.length),
      modelPlaces: namesModel ? 1 : 0,
      modelIsJson: true,
      stream: body.json["stream"] === true,
      units: unitsOf(operation.path, body),
    },
    items: namesModel ? body.items : [sent],
    json: body.json,
    named: isSearched ? resourcesIn(body.json, isForModels) : [],
    names: namesOf(sent, isSearched),
    inputTokens: Math.ceil(sent.length * tokensPerByte),
    close: async () => {},
  };
}

/** What a body names. @param areFound whether ids that are on record have been found already */
function namesOf(body: Buffer, areFound: boolean): Names {
  if (!mayName(body)) return noNames;
  const names = namesInBody(body);
  return areFound ? { ...names, ids: [], stores: [] } : names;
}

/** Its parts would come in any order, each with pieces of lines. Files of batches are smaller than what goes whole. */
function batchInParts(): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "The input file of a batch is read while it is uploaded: send it whole to /v1/files, with `purpose` `batch`.",
    metadata: { param: "purpose" },
  });
}

async function readMultipart(
  deps: PassthroughDeps,
  operation: Operation,
  { exchange, caller }: KeyedCall,
  metadataFor: MetadataFor,
): Promise<Outgoing> {
  const { memory, resources } = deps;
  const { bodyStallMs, bodyBytesPerSecondMin } = deps.settings();
  const upload =
    operation.kind === "file"
      ? new BatchUpload(
          {
            // What is taken for an exchange that is over is given back by nobody, and what it held has been.
            take: (bytes) => !exchange.isClosed && memory.take(exchange, bytes),
            give: (bytes) => {
              if (!exchange.isClosed) memory.give(exchange, bytes);
            },
          },
          async (ids) =>
            collectionsAmong(await findOwn(resources, ids, caller, metadataFor(undefined), async () => false)),
        )
      : undefined;
  const limits = { bytesMax: uploadBytesMax, stallMs: bodyStallMs, bytesPerSecondMin: bodyBytesPerSecondMin };
  const body = new MultipartBody(exchange, limits, upload);
  try {
    const model = operation.model === "none" ? undefined : await body.model();
    const length = body.bytesWithoutModel;
    return {
      alias: model === undefined || model === "" ? "" : aliasOf(model),
      user: body.field("user"),
      head: {
        contentType: exchange.request.headers["content-type"] ?? "",
        modelPlaces: model === undefined ? 0 : 1,
        stream: body.field("stream") === "true",
        units: operation.endpoint === "images" ? { images: imageCount(body.field("n")) } : {},
        ...(length === undefined ? {} : { bodyBytes: BigInt(length) }),
      },
      items: body.items(),
      named: [],
      names: noNames,
      ...(upload === undefined ? {} : { upload }),
      inputTokens: 0,
      close: () => body.close(),
    };
  } catch (thrown) {
    await body.close();
    throw thrown;
  }
}

function headOf(
  { endpoint, method, path, query }: Operation,
  { exchange, params }: KeyedCall,
  { alias, head }: Outgoing,
  place: Place | undefined,
): HeadInit {
  const asked = new URLSearchParams(exchange.request.url?.split("?", 2)[1] ?? "");
  const passing = new URLSearchParams(query.flatMap((name) => asked.getAll(name).map((value) => [name, value])));
  return {
    ...head,
    endpoint,
    method,
    path: path.replace(/\{([a-z_]+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? "")),
    query: passing.toString(),
    alias,
    headers: betaHeaders(exchange.request.headers["openai-beta"]),
    ...(place === undefined ? {} : { place }),
  };
}

/** The one header of OpenAI's clients that changes what an endpoint does. */
function betaHeaders(value: string | string[] | undefined): Record<string, string> {
  return typeof value === "string" && /^[\w=, .-]{1,128}$/.test(value) ? { "openai-beta": value } : {};
}

async function* requests(head: HeadInit, items: Outgoing["items"]): AsyncGenerator<ForwardRequest> {
  yield {
    $typeName: "weir.passthrough.v1.ForwardRequest",
    payload: { case: "head", value: create(CallHeadSchema, head) },
  };
  for await (const item of items) {
    for (const value of toPieces([item])) {
      yield { $typeName: "weir.passthrough.v1.ForwardRequest", payload: { case: "piece", value } };
    }
  }
}
