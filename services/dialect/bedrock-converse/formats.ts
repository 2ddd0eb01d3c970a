/** The words of one kind of block for media types, both ways. */
interface Formats {
  /** The media type of a format; undefined for words that are not known. */
  readonly mediaType: (format: string) => string | undefined;
  /** The format of a media type, parameters aside; undefined where the dialect has none. */
  readonly format: (mediaType: string) => string | undefined;
}

type Row = readonly [format: string, ...mediaTypes: string[]];

// The first media type of a row is the one that its format is read as; of rows that share one, the first is written.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageBlock.html
export const imageFormats: Formats = formats([
  ["png", "image/png"],
  ["jpeg", "image/jpeg", "image/jpg"],
  ["gif", "image/gif"],
  ["webp", "image/webp"],
]);

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
const documents = formats([
  ["pdf", "application/pdf"],
  ["csv", "text/csv"],
  ["doc", "application/msword"],
  ["docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"],
  ["xls", "application/vnd.ms-excel"],
  ["xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
  ["html", "text/html"],
  ["txt", "text/plain"],
  ["md", "text/markdown"],
]);

/** Every text that has no word of its own is plain text. */
export const documentFormats: Formats = {
  mediaType: documents.mediaType,
  format: (mediaType) => documents.format(mediaType) ?? (mediaType.startsWith("text/") ? "txt" : undefined),
};

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_VideoBlock.html
export const videoFormats: Formats = formats([
  ["mp4", "video/mp4"],
  ["mpeg", "video/mpeg"],
  ["mpg", "video/mpeg"],
  ["mov", "video/quicktime"],
  ["mkv", "video/x-matroska", "video/matroska"],
  ["webm", "video/webm"],
  ["flv", "video/x-flv"],
  ["wmv", "video/x-ms-wmv"],
  ["three_gp", "video/3gpp"],
]);

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_AudioBlock.html
export const audioFormats: Formats = formats([
  ["mp3", "audio/mpeg", "audio/mp3"],
  ["mpeg", "audio/mpeg"],
  ["mpga", "audio/mpeg"],
  ["wav", "audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"],
  ["flac", "audio/flac", "audio/x-flac"],
  ["aac", "audio/aac"],
  ["x-aac", "audio/x-aac"],
  ["mp4", "audio/mp4"],
  ["m4a", "audio/x-m4a", "audio/m4a"],
  ["mka", "audio/x-matroska", "audio/matroska"],
  ["mkv", "audio/x-matroska"],
  ["ogg", "audio/ogg"],
  ["opus", "audio/opus"],
  ["pcm", "audio/pcm"],
  ["webm", "audio/webm"],
]);

function formats(rows: readonly Row[]): Formats {
  const byFormat = new Map(rows.map(([format, mediaType]) => [format, mediaType]));
  const byType = new Map(rows.toReversed().flatMap(([format, ...types]) => types.map((type) => [type, format])));
  return {
    mediaType: (format) => byFormat.get(format),
    format: (mediaType) => byType.get(mediaType.replace(/\s*;.*$/s, "").toLowerCase()),
  };
}
