// Package citizen knows whom we tell: the phone, the person behind it, the zone they live in and the hours they may be reached,
// what they asked us to stop, and how everything personal is sealed.
//
// It promises that personal data leaves only through methods that say so (Phone.E164, SNILS.Digits, Name.Reveal): whatever
// prints, logs or encodes one of its types gets a mask, and no error repeats the value it refuses.
//
// When a row leaves is for dispatch, which fault code and sentence a bad value gets is for ingest, and the figures of windows
// and caps are catalogue data: here they are only obeyed.
package citizen
